/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - reads a prompt module and links it into the lowered towers; entries of
** the result.
**
** The declaration is read first, because it says which initializers are inputs of
** the program, bound when a prompt set is. */
#include "compiler/compiler.h"

#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/map.h"

/* ---- the declaration --------------------------------------------------------- */

/* x.json of x.onnx, when there is such a file. */
static const char *beside(const Compile *c, const char *path) {
  size_t n = strlen(path), k = strlen(".onnx");
  if (n <= k || strcmp(path + n - k, ".onnx") != 0) return NULL;
  const char *spec = arena_printf(c->a, "%.*s.json", (int)(n - k), path);
  struct stat st;
  return stat(spec, &st) == 0 ? spec : NULL;
}

static VlStatus no_declaration(const Compile *c) {
  VlStatus s = diag_error(c->d, DIAG_LINK_SPEC, (DiagAt){c->o->prompt, NULL},
                          "the module has no declaration");
  diag_expected(c->d, "the metadata \"" DECLARATION_KEY "\", or a .json file beside it");
  diag_fix(c->d, "write it as docs/prompt-modules.md says, or name it with --prompt-spec");
  return s;
}

static VlStatus read_declaration(Compile *c, const FeModel *m) {
  const char *text = fe_metadata(m, DECLARATION_KEY), *file = c->o->prompt_spec;
  uint8_t *bytes = NULL;
  size_t n = text ? strlen(text) : 0;
  if (!file && !text) file = beside(c, c->o->prompt);
  if (!file && !text) return no_declaration(c);
  if (file) {
    VL_TRY(io_read(file, DECLARATION_MAX, c->a, c->d, &bytes, &n));
    text = (const char *)bytes;
  }
  return declaration_read(text, n, c->a, file ? file : c->o->prompt, c->d, &c->declaration);
}

/* ---- trainables ----------------------------------------------------------------- */

static void name_trainables(Compile *c, FeModel *m) {
  const Declaration *x = &c->declaration;
  FeInput *in = arena_array(c->a, FeInput, x->n_trainables);
  const char **name = arena_array(c->a, const char *, x->n_trainables);
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    name[i] = x->trainable[i].name;
    in[i] = (FeInput){name[i], x->trainable[i].class_rows ? "classes" : NULL};
  }
  fe_inputs(m, in, x->n_trainables);
  c->trainables = (TrainableNames){name, x->n_trainables};
}

static VlStatus check_trainable(const Compile *c, const Graph *g, const char *name) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(g, &in), i = 0;
  DiagAt at = {c->o->prompt, NULL};
  while (i < n && strcmp(in[i].name, name) != 0) i++;
  if (i == n) {
    VlStatus s =
        diag_error(c->d, DIAG_LINK_VALUE, at,
                   "the module has no initializer '%s', which is declared trainable", name);
    diag_fix(c->d, "export it as a parameter of that name");
    return s;
  }
  const Type *t = ir_type_of(g, in[i].v);
  if (t->dtype != VLPC_F32) {
    VlStatus s = diag_error(c->d, DIAG_LINK_DTYPE, at, "the trainable '%s' is not f32", name);
    diag_found(c->d, "%s", dtype_name(t->dtype));
    return s;
  }
  if (t->rank <= 3) return VLPC_OK;
  VlStatus s = diag_error(c->d, DIAG_LINK_WIDTH, at, "the trainable '%s' has too many axes", name);
  diag_found(c->d, "%u", t->rank);
  diag_expected(c->d, "at most 3");
  return s;
}

/* ---- linking ---------------------------------------------------------------------- */

static LinkSpec spec_of(Compile *c, const Graph *module) {
  const Declaration *x = &c->declaration;
  return (LinkSpec){.module = module,
                    .file = c->o->prompt,
                    .n_taps = x->n_taps,
                    .n_writes = x->n_writes,
                    .n_trainables = c->trainables.n,
                    .tap = x->tap,
                    .write = x->write,
                    .trainable = c->trainables.at,
                    .slot_rows = x->slot_rows,
                    .place = x->place,
                    .logit_scale = c->logit_scale,
                    .lift = x->lift,
                    .frozen_image = c->o->train,
                    .layout = &c->layout};
}

/* Of the towers as they are without prompts, whatever exporter wrote them. */
static VlStatus hash_base(Compile *c) {
  Str text = {.arena = c->a};
  char *hash = arena_alloc(c->a, 33);
  VL_TRY(pass_normal_text(c->graph, c->d, &text));
  hash_hex128(str_text(&text), text.n, hash);
  c->base_hash = hash;
  return VLPC_OK;
}

/* Where features of images come from, with prompts and without. */
static void add_maps(Graph *g) {
  Val feat = ir_point_named(g, "V.feat"), frozen = ir_output_named(g, LINK_FROZEN_IMAGE);
  if (!val_ok(feat) || !val_ok(frozen)) return;
  Val with = pass_attention_map(g, feat), plain = VAL_NONE;
  if (!val_eq(frozen, feat)) plain = pass_attention_map(g, frozen);
  if (val_ok(with)) ir_output(g, LINK_LOOK "attention", with);
  if (val_ok(plain)) ir_output(g, LINK_LOOK "plain_attention", plain);
}

VlStatus compile_link(Compile *c) {
  FeOptions o = {.external_root = c->o->external_root, .memory = c->o->memory_limit};
  Graph *g = NULL;
  PassResult again;
  VL_TRY(compile_check_train(c));
  if (!c->o->prompt) return VLPC_OK;
  VL_TRY(hash_base(c));
  if (c->o->train && compile_context(c->graph) > 0)
    c->graph = pass_fix_length(c->graph, compile_context(c->graph), c->a);
  VL_TRY(fe_read(c->a, c->o->prompt, &o, c->d, &c->module));
  VL_TRY(read_declaration(c, c->module));
  name_trainables(c, c->module);
  VL_TRY(fe_import(c->module, &g));
  for (uint32_t i = 0; i < c->trainables.n; i++)
    VL_TRY(check_trainable(c, g, c->trainables.at[i]));
  LinkSpec spec = spec_of(c, g);
  LinkLoss loss[TRAIN_LOSSES] = {0};
  spec.loss = loss;
  VL_TRY(compile_read_losses(c, loss, &spec.n_losses));
  VL_TRY(pass_link(c->graph, &spec, c->a, c->d, &g));
  VL_TRY(pass_relower(g, &c->pass, c->d, &again));
  c->graph = c->pass.skip ? pass_apart(again.g, c->pass.skip, c->a) : again.g;
  if (spec.n_losses == 0) return VLPC_OK;
  add_maps(c->graph);
  if (!(c->sched_flags & COMPILE_NO_ABSORB)) c->graph = pass_absorb(c->graph, c->a);
  return compile_gradients(c);
}

/* ---- entries ------------------------------------------------------------------------ */

/* Outputs that begin with LINK_LOOK, without it. */
static bool maps_entry(const Compile *c, const Named *out, uint32_t n, PassEntry *e) {
  Named *to = arena_array(c->a, Named, n);
  *e = (PassEntry){.name = ATTENTION_ENTRY, .out = to};
  for (uint32_t i = 0; i < n; i++)
    if (strncmp(out[i].name, LINK_LOOK, strlen(LINK_LOOK)) == 0)
      to[e->n_out++] = (Named){out[i].name + strlen(LINK_LOOK), out[i].v};
  return e->n_out > 0;
}

static PassEntry *entry_named(Compile *c, const char *name) {
  for (uint32_t i = 0; i < c->n_entries; i++)
    if (strcmp(c->entry[i].name, name) == 0) return &c->entry[i];
  return NULL;
}

static void append(const Compile *c, const Named **at, uint32_t *n, CutList more) {
  Named *to = arena_array(c->a, Named, *n + more.n);
  if (*n) memcpy(to, *at, *n * sizeof *to);
  if (more.n) memcpy(to + *n, more.at, more.n * sizeof *to);
  *at = to;
  *n += more.n;
}

static void give(const Compile *c, PassEntry *e, CutList more) {
  const Named *at = e->given.at;
  append(c, &at, &e->given.n, more);
  e->given.at = (Named *)(uintptr_t)at;
}

/* What the image tower reads of the texts: results of the text entry. */
static void cut_classes(Compile *c) {
  PassEntry *image = entry_named(c, "image"), *text = entry_named(c, "text");
  PassEntry *maps = entry_named(c, ATTENTION_ENTRY);
  if (!image || !text) return;
  Cut cut = {.at = pass_binding(c->graph, c->a, &c->trainables, BIND_prompts), .time = BIND_classes,
             .late = image, .early = text, .n_late = 1};
  CutList list = pass_cut(c->graph, c->a, &cut), fresh = {arena_array(c->a, Named, list.n), 0};
  for (uint32_t i = 0; i < list.n; i++) {
    bool is_there = false;
    for (uint32_t k = 0; k < text->n_out; k++)
      is_there = is_there || val_eq(text->out[k].v, list.at[i].v);
    if (!is_there) fresh.at[fresh.n++] = list.at[i];
  }
  give(c, image, list);
  if (maps) give(c, maps, list);
  append(c, &text->out, &text->n_out, fresh);
}

/* Rows of the token table, which prompts may start as. */
static bool tokens_entry(Compile *c, PassEntry *out) {
  Graph *g = c->graph;
  uint32_t i = 1, n = ir_n_vals(g);
  while (i <= n && ir_op(g, (Val){i}) != OP_embedding) i++;
  if (i > n) return false;
  DimId size = dim_of_symbol(ir_dims(g), dim_symbol(ir_dims(g), "tokens"));
  if (size == DIM_NONE) return false;
  Val in[2] = {ir_in(g, (Val){i}, 0)};
  in[1] = ir_input(g, "token_ids", ir_type(g, VLPC_I64, 1, &size));
  Named *to = arena_one(c->a, Named);
  *to = (Named){"token_rows", ir_node(g, OP_embedding, 2, in, 0, NULL)};
  *out = (PassEntry){.name = "tokens", .out = to, .n_out = 1};
  return val_ok(to->v);
}

static const Named *output_named(const Named *out, uint32_t n, const char *name) {
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(out[i].name, name) == 0) return &out[i];
  return NULL;
}

/* What a module makes of scores, of the features that the towers' entries give. */
static void add_scores(Compile *c, const Named *out, uint32_t n) {
  const PassEntry *image = entry_named(c, "image"), *text = entry_named(c, "text");
  const Named *scores = output_named(out, n, "logits_per_image");
  bool writes = false;
  for (uint32_t i = 0; i < c->declaration.n_writes; i++)
    writes = writes || strcmp(c->declaration.write[i].point, "logits") == 0;
  if (!writes || !scores || !image || !text) return;
  const Named *of_image = output_named(image->out, image->n_out, "image_features");
  const Named *of_text = output_named(text->out, text->n_out, "text_features");
  if (!of_image || !of_text) return;
  CutList given = {arena_array(c->a, Named, 2), 2};
  given.at[0] = *of_image, given.at[1] = *of_text;
  c->entry[c->n_entries++] =
      (PassEntry){.name = SCORES_ENTRY, .out = scores, .n_out = 1, .given = given};
}

void compile_entries(Compile *c) {
  const Named *out = NULL;
  uint32_t n = ir_outputs(c->graph, &out);
  c->n_entries = pass_entries(c->graph, c->entry);
  if (!c->o->prompt) return;
  if (maps_entry(c, out, n, &c->entry[c->n_entries])) c->n_entries++;
  cut_classes(c);
  add_scores(c, out, n);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(out[i].name, LINK_FROZEN_TEXT) == 0)
      c->entry[c->n_entries++] = (PassEntry){.name = "frozen_text", .out = &out[i], .n_out = 1};
  if (tokens_entry(c, &c->entry[c->n_entries])) c->n_entries++;
  for (uint32_t i = 0; i < TRAIN_LOSSES; i++) {
    if (!compile_train_entry(c, i, &c->entry[c->n_entries])) return;
    c->n_entries++;
    if (!(c->sched_flags & COMPILE_NO_CUT))
      compile_cut_training(c, i, &c->entry[c->n_entries - 1]);
  }
}

/* Training changes the prompts: its entries compute what is made of them themselves. */
void compile_cut_prompts(Compile *c) {
  if (!c->o->prompt || (c->sched_flags & COMPILE_NO_CUT)) return;
  PassEntry late[ENTRY_MAX];
  uint32_t n_late = 0;
  for (uint32_t i = 0; i < c->n_entries; i++)
    if (!compile_trains(&c->entry[i])) late[n_late++] = c->entry[i];
  Cut cut = {.at = pass_binding(c->graph, c->a, &c->trainables, BIND_prompts), .time = BIND_prompts,
             .late = late, .n_late = n_late};
  CutList list = pass_cut(c->graph, c->a, &cut);
  if (list.n == 0) return;
  for (uint32_t i = 0; i < c->n_entries; i++)
    if (!compile_trains(&c->entry[i])) give(c, &c->entry[i], list);
  uint32_t at = c->n_entries - c->n_stand_ins;
  memmove(&c->entry[at + 1], &c->entry[at], c->n_stand_ins * sizeof *c->entry);
  c->entry[at] = (PassEntry){.name = "prompts", .out = list.at, .n_out = list.n};
  c->n_entries++;
  c->has_prompts = true;
}

/* ---- manifest ------------------------------------------------------------------------- */

static ManifestTrainable trainable_of(const Compile *c, const DeclaredTrainable *x) {
  ManifestTrainable t = {.name = x->name, .class_rows = x->class_rows, .init = x->init};
  const Named *in = NULL;
  uint32_t n = ir_inputs(c->graph, &in);
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(in[i].name, x->name) != 0) continue;
    const Type *type = ir_type_of(c->graph, in[i].v);
    t.dtype = type->dtype, t.rank = type->rank;
    for (uint32_t k = 0; k < type->rank; k++) {
      t.size[k] = -1;
      (void)ir_size_const(c->graph, in[i].v, (int)k, &t.size[k]);
    }
  }
  return t;
}

static ManifestLayoutRow *layout_of(const Compile *c) {
  ManifestLayoutRow *out = arena_array(c->a, ManifestLayoutRow, c->layout.n);
  for (uint32_t i = 0; i < c->layout.n; i++) {
    const LinkRow *r = &c->layout.at[i];
    out[i] = (ManifestLayoutRow){r->point, r->action, r->segment, r->value, r->per, r->time,
                                 r->stream, r->first, r->rows, {r->mix[0], r->mix[1]}};
  }
  return out;
}

/* Some write gives each class rows of its own. */
static bool has_own_rows(const Compile *c) {
  for (uint32_t i = 0; i < c->layout.n; i++) {
    const LinkRow *r = &c->layout.at[i];
    if (r->segment && strcmp(r->segment, "slot") == 0 && r->per && strstr(r->per, "class"))
      return true;
  }
  return false;
}

ManifestPrompts compile_manifest_prompts(const Compile *c) {
  const Declaration *x = &c->declaration;
  if (!c->o->prompt) return (ManifestPrompts){0};
  ManifestPrompts m = {.method = x->method,
                       .base = c->base_hash,
                       .slot_rows = x->slot_rows,
                       .slot_own = has_own_rows(c),
                       .slot_phrase = x->phrase,
                       .entry = c->has_prompts ? "prompts" : NULL,
                       .loss_per_photo = x->loss[0].per_photo,
                       .loss_weights = x->loss[0].weights,
                       .n_frozen_templates = x->loss[0].n_templates,
                       .frozen_templates = x->loss[0].templates,
                       .n_templates = x->n_templates,
                       .templates = x->templates,
                       .n_trainables = x->n_trainables,
                       .n_layout = c->layout.n,
                       .layout = layout_of(c)};
  if (x->slot_rows > 0) m.slot_place = slot_place_name(x->place);
  m.trainable = arena_array(c->a, ManifestTrainable, x->n_trainables);
  for (uint32_t i = 0; i < x->n_trainables; i++) m.trainable[i] = trainable_of(c, &x->trainable[i]);
  return m;
}
