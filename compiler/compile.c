/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c - runs the stages of a compilation in order. */
#include "compiler/compiler.h"

#include <string.h>

#include "runtime/code_store.h"
#include "runtime/preprocess.h"
#include "runtime/tokenizer.h"

static VlStatus progress(const Compile *c, const char *stage, uint64_t done, uint64_t total) {
  if (!c->o->progress || !c->o->progress(c->o->progress_user, stage, done, total)) return VLPC_OK;
  return diag_error(c->d, DIAG_CANCELLED, DIAG_NOWHERE, "the compilation was stopped");
}

/* ---- up to one lowered graph --------------------------------------------- */

static void keep_dump(void *ctx, uint32_t step, const char *pass, const char *text) {
  Compile *c = ctx;
  str_printf(&c->dump, "; %u after %s\n%s\n", step, pass, text);
}

static VlStatus read_model(Compile *c, uint32_t i) {
  FeOptions o = {.external_root = c->o->external_root, .memory = c->o->memory_limit};
  VL_TRY(progress(c, "read", i, c->n_models));
  VL_TRY(fe_read(c->a, c->o->models[i], &o, c->d, &c->model[i]));
  return fe_import(c->model[i], &c->imported[i]);
}

static bool has_input(const Graph *g, const char *name) {
  return val_ok(ir_input_named(g, name));
}

static VlStatus join_towers(Compile *c) {
  Graph *a = c->lowered[0].g, *b = c->lowered[1].g;
  bool swapped = has_input(a, "text") && has_input(b, "image");
  return pass_join(swapped ? b : a, swapped ? a : b, c->a, c->d, &c->graph);
}

static VlStatus read_precision(Compile *c) {
  const char *asked = c->o->precision ? c->o->precision : "fp32";
  c->bf16 = strcmp(asked, "bf16") == 0;
  if (c->bf16) c->sched_flags |= SCHED_BF16;
  if (c->bf16 || strcmp(asked, "fp32") == 0) return VLPC_OK;
  VlStatus s = diag_error(c->d, DIAG_USAGE, DIAG_NOWHERE, "there is no such precision");
  diag_found(c->d, "%s", asked);
  diag_expected(c->d, "fp32 or bf16");
  return s;
}

/* The towers in one form, from ONNX files or from an artifact that has them so. */
static VlStatus read_towers(Compile *c) {
  PassOpts whole = c->pass; /* points are found by passes: those left out come behind the link */
  if (c->o->prompt) whole.skip = 0;
  if (source_is_artifact(c->o->models[0])) return source_read(c);
  for (uint32_t i = 0; i < c->n_models; i++) {
    VL_TRY(read_model(c, i));
    VL_TRY(progress(c, "lower", i, c->n_models));
    VL_TRY(pass_lower(c->imported[i], &whole, c->d, &c->lowered[i]));
  }
  c->graph = c->lowered[0].g;
  return c->n_models == 2 ? join_towers(c) : VLPC_OK;
}

VlStatus compile_lower(Compile *c) {
  c->dump.arena = c->a;
  c->pass.on_dump = keep_dump;
  c->pass.dump_ctx = c;
  VL_TRY(compile_switches(c));
  VL_TRY(read_precision(c));
  while (c->n_models < COMPILE_MAX_MODELS && c->o->models[c->n_models]) c->n_models++;
  if (c->n_models == 0)
    return diag_error(c->d, DIAG_USAGE, DIAG_NOWHERE, "no model file was given");
  VL_TRY(read_towers(c));
  c->towers = c->graph;
  VL_TRY(compile_logit_scale(c));
  c->report = pass_report(c->graph, c->a);
  VL_TRY(compile_link(c));
  if (!(c->sched_flags & COMPILE_NO_ABSORB)) c->graph = pass_absorb(c->graph, c->a);
  if (!(c->sched_flags & COMPILE_NO_NARROW)) c->graph = pass_narrow(c->graph, c->a);
  c->graph = sched_expand(c->graph, c->a);
  compile_entries(c);
  if (!c->o->require_fused) return VLPC_OK;
  uint32_t kinds = 0;
  VL_TRY(pass_require_parse(c->o->require_fused, c->d, &kinds));
  return pass_require(&c->report, kinds, c->d);
}

static bool text_on_rows(Compile *c, PassEntry *out) {
  TextRows rows;
  if (c->sched_flags & COMPILE_NO_TEXT_ROWS) return false;
  for (uint32_t i = 0; i < c->n_entries; i++) {
    if (strcmp(c->entry[i].name, "text") != 0) continue;
    if (!pass_text_rows(c->graph, &c->entry[i], &rows)) return false;
    *out = rows.entry;
    c->eot = rows.eot;
    return true;
  }
  return false;
}

static void add_stand_ins(Compile *c) {
  PassEntry *to = &c->entry[c->n_entries];
  c->n_stand_ins = compile_train_stand_ins(c, to);
  if (text_on_rows(c, &to[c->n_stand_ins])) c->n_stand_ins++;
  c->n_entries += c->n_stand_ins;
}

VlStatus compile_schedule(Compile *c) {
  SchedEntry entry[ENTRY_MAX];
  VL_TRY(progress(c, "plan", 0, 1));
  add_stand_ins(c);
  compile_cut_prompts(c);
  for (uint32_t i = 0; i < c->n_entries; i++)
    entry[i] = (SchedEntry){c->entry[i].name, c->entry[i].out, c->entry[i].n_out,
                            c->entry[i].given.at, c->entry[i].given.n};
  return sched_run(c->graph, entry, c->n_entries, c->sched_flags, c->a, c->d, &c->plan);
}

/* ---- the artifact -------------------------------------------------------- */

static VlStatus write_text(ArtifactWriter *w, SectionKind kind, Str *text) {
  return artifact_writer_section(w, kind, str_text(text), text->n);
}

/* Rows of the table that token ids point into; false when there is none. */
static bool table_rows(const Graph *g, int64_t *rows) {
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    Val v = {i};
    if (ir_op(g, v) == OP_embedding) return ir_size_const(g, ir_in(g, v, 0), 0, rows);
  }
  return false;
}

static VlStatus check_vocabulary(const Compile *c, const Tokenizer *t) {
  int64_t rows = 0;
  TokenizerInfo info = tokenizer_info(t);
  if (!table_rows(c->graph, &rows) || info.vocab <= rows) return VLPC_OK;
  VlStatus s = diag_error(c->d, DIAG_TOK_SIZE, (DiagAt){c->o->tokenizer, NULL},
                          "the tokenizer has ids that the model has no embedding for");
  diag_found(c->d, "%u ids", info.vocab);
  diag_expected(c->d, "at most %lld", (long long)rows);
  diag_fix(c->d, "give the tokenizer that belongs to the model");
  return s;
}

static VlStatus write_tokenizer(const Compile *c, ArtifactWriter *w) {
  Tokenizer *t = NULL;
  VL_TRY(tokenizer_load(c->o->tokenizer, c->d, &t));
  VlStatus status = check_vocabulary(c, t);
  if (status != VLPC_OK) {
    tokenizer_free(t);
    return status;
  }
  size_t n = tokenizer_n_bytes(t);
  uint8_t *bytes = arena_array_bytes(c->a, n, 1);
  tokenizer_to_bytes(t, bytes);
  tokenizer_free(t);
  return artifact_writer_section(w, SECTION_tokenizer, bytes, n);
}

/* Side of the image input, 224 when it is not fixed or there is none. */
static int32_t image_side(const Compile *c) {
  const Named *in = NULL;
  int64_t side = 224;
  uint32_t n = ir_inputs(c->graph, &in);
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(in[i].name, "image") == 0) (void)ir_size_const(c->graph, in[i].v, -1, &side);
  }
  return (int32_t)VL_MIN(side, 4096);
}

static VlStatus check_side(const Compile *c, const Preprocess *p, int32_t side) {
  int32_t width = 0, height = 0;
  preprocess_size(p, &width, &height);
  if (width == side && height == side) return VLPC_OK;
  VlStatus s = diag_error(c->d, DIAG_PREPROCESS_SIZE, (DiagAt){c->o->preprocess, NULL},
                          "the photos it makes do not fit the model");
  diag_found(c->d, "%d×%d pixels", width, height);
  diag_expected(c->d, "%d×%d", side, side);
  diag_fix(c->d, "give the preprocessor_config.json that belongs to the model");
  return s;
}

static VlStatus write_preprocess(const Compile *c, ArtifactWriter *w) {
  int32_t side = image_side(c);
  Preprocess p = preprocess_clip(side);
  if (c->o->preprocess) {
    VL_TRY(preprocess_load(c->o->preprocess, c->d, &p));
    VL_TRY(check_side(c, &p, side));
  }
  Str text = {.arena = c->a};
  preprocess_to_text(&p, &text);
  return write_text(w, SECTION_preprocess, &text);
}

/* A section of the artifact that is compiled again. */
static VlStatus write_again(const Compile *c, ArtifactWriter *w, SectionKind kind) {
  Section s = artifact_section(&c->source, kind);
  return s.at ? artifact_writer_section(w, kind, s.at, (size_t)s.bytes) : VLPC_OK;
}

static VlStatus write_companions(const Compile *c, ArtifactWriter *w) {
  if (c->o->tokenizer)
    VL_TRY(write_tokenizer(c, w));
  else if (c->has_source)
    VL_TRY(write_again(c, w, SECTION_tokenizer));
  if (c->has_source && !c->o->preprocess) return write_again(c, w, SECTION_preprocess);
  return has_input(c->graph, "image") ? write_preprocess(c, w) : VLPC_OK;
}

static VlStatus write_provenance(const Compile *c, ArtifactWriter *w) {
  Str text = {.arena = c->a};
  if (c->has_source) return write_again(c, w, SECTION_provenance);
  VL_TRY(provenance_section(c, &text));
  return write_text(w, SECTION_provenance, &text);
}

static VlStatus write_sections(Compile *c, ArtifactWriter *w) {
  const uint8_t *bytes = NULL;
  size_t n = 0;
  Str manifest = {.arena = c->a}, graph = {.arena = c->a};
  manifest_section(c, &manifest);
  VL_TRY(write_text(w, SECTION_manifest, &manifest));
  source_graph(c, &graph);
  VL_TRY(write_text(w, SECTION_graph, &graph));
  program_write(&c->plan.program, c->a, &bytes, &n);
  VL_TRY(artifact_writer_section(w, SECTION_program, bytes, n));
  kernels_write(c->plan.kernels, c->a, &bytes, &n);
  VL_TRY(artifact_writer_section(w, SECTION_kernels, bytes, n));
  VL_TRY(artifact_writer_begin(w, SECTION_weights));
  VL_TRY(weights_write(c, w));
  VL_TRY(artifact_writer_end(w));
  VL_TRY(write_companions(c, w));
  VL_TRY(write_provenance(c, w));
  if (c->o->seal) VL_TRY(seal_section(c, w));
  return source_kept(c, w);
}

VlStatus compile_write(Compile *c) {
  ArtifactWriter *w = NULL;
  if (!c->o->output) return diag_error(c->d, DIAG_USAGE, DIAG_NOWHERE, "no output file was given");
  VL_TRY(progress(c, "write", 0, c->plan.n_consts));
  VL_TRY(artifact_writer_open(c->o->output, c->d, &w));
  VlStatus status = write_sections(c, w);
  if (status == VLPC_OK) return artifact_writer_commit(w);
  artifact_writer_abandon(w);
  return status;
}

void compile_close(Compile *c) {
  for (uint32_t i = 0; i < c->n_models; i++) {
    if (c->model[i]) fe_close(c->model[i]);
  }
  if (c->has_source) artifact_unmap(&c->source);
  if (c->module) fe_close(c->module);
  for (uint32_t i = 0; i < TRAIN_LOSSES; i++)
    if (c->loss_model[i]) fe_close(c->loss_model[i]);
}
