/* SPDX-License-Identifier: Apache-2.0 */
/* train.c - the entries that training runs: the prompt module's loss and the gradient
** of each trainable, in one program; for a loss that takes over from it once more.
**
** Gradients are taken of the lowered graph, when keys and values of a single query are
** gone (absorb) and before products are made narrower (narrow sees both sides).  Where
** texts can be packed, there is the same once more on the rows that count (text_rows), and in parts
** (train_chunks.c). */
#include "compiler/compiler.h"

#include <string.h>

/* Of each loss: what the names of its outputs begin with. */
static const char *const own_prefix[TRAIN_LOSSES] = {"", LINK_NEXT};

const char *compile_prefix(const Compile *c, uint32_t stage, const char *of) {
  return arena_printf(c->a, "%s%s", own_prefix[stage], of);
}

/* ---- the loss ------------------------------------------------------------------ */

static VlStatus unfit(const Compile *c, const char *what, const char *fix) {
  VlStatus s = diag_error(c->d, DIAG_TRAIN_MODULE, (DiagAt){c->o->prompt, NULL}, "%s", what);
  diag_fix(c->d, "%s", fix);
  return s;
}

static bool has_learned(const Compile *c) {
  for (uint32_t i = 0; i < c->declaration.n_trainables; i++)
    if (!c->declaration.trainable[i].fixed) return true;
  return false;
}

VlStatus compile_check_train(const Compile *c) {
  if (!c->o->train || c->o->prompt) return VLPC_OK;
  VlStatus s = diag_error(c->d, DIAG_TRAIN_MODULE, DIAG_NOWHERE,
                          "there is no prompt module to train");
  diag_fix(c->d, "name one with --prompt");
  return s;
}

static VlStatus read_loss(Compile *c, uint32_t i, LinkLoss *out) {
  const DeclaredLoss *x = &c->declaration.loss[i];
  FeOptions o = {.external_root = c->o->external_root, .memory = c->o->memory_limit};
  Graph *g = NULL;
  const char *slash = strrchr(c->o->prompt, '/');
  int n = slash ? (int)(slash - c->o->prompt) + 1 : 0;
  out->file = arena_printf(c->a, "%.*s%s", n, c->o->prompt, x->file);
  out->output = arena_printf(c->a, "%s" LINK_LOSS, own_prefix[i]);
  out->tap = x->tap, out->n_taps = x->n_taps;
  VL_TRY(fe_read(c->a, out->file, &o, c->d, &c->loss_model[i]));
  VL_TRY(fe_import(c->loss_model[i], &g));
  out->graph = g;
  return VLPC_OK;
}

VlStatus compile_read_losses(Compile *c, LinkLoss out[TRAIN_LOSSES], uint32_t *n) {
  if (!c->o->train) return VLPC_OK;
  if (!has_learned(c))
    return unfit(c, "the module has nothing to train", "compile it without --train");
  if (!c->declaration.loss[0].file)
    return unfit(c, "the module's declaration names no loss", "add \"loss\", or see vlpc prompt");
  for (*n = 0; *n < TRAIN_LOSSES && c->declaration.loss[*n].file; (*n)++)
    VL_TRY(read_loss(c, *n, &out[*n]));
  return VLPC_OK;
}

/* ---- gradients -------------------------------------------------------------------- */

/* Entries that stand in for training's: on packed rows, and with less and less memory,
** because less is kept for the way back. */
static const struct {
  const char *suffix, *prefix; /* of their names, of the names of their outputs */
  GradKeep keep;
} stand_in[] = {
    {PASS_ROWS, LINK_STEP "rows.", GRAD_KEEP_all},
    {"_narrow", LINK_STEP "narrow.", GRAD_KEEP_narrow},
    {"_sums", LINK_STEP "sums.", GRAD_KEEP_sums},
};

/* Something is learned that the texts' features depend on. */
static bool learns_texts(const Graph *g, const GradSpec *of) {
  bool *learned = arena_array(ir_arena(g), bool, ir_n_vals(g) + 1);
  for (uint32_t i = 0; i < of->n; i++) learned[of->of[i].v.i] = true;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++)
      learned[i] = learned[i] || learned[ir_in(g, (Val){i}, k).i];
  return learned[ir_point_named(g, "T.feat").i];
}

/* A value that depends on texts, on packed rows; VAL_NONE: there is none. */
static Val on_rows(Compile *c, Val v) {
  PassEntry train = {.name = train_entries[0].whole, .out = &(Named){"v", v}, .n_out = 1};
  TextRows rows;
  if ((c->sched_flags & COMPILE_NO_TEXT_ROWS) || !pass_text_rows(c->graph, &train, &rows))
    return VAL_NONE;
  c->eot = rows.eot;
  return rows.entry.out[0].v;
}

/* Of one loss; the names of their outputs have both prefixes. */
static VlStatus add_stand_ins(Compile *c, uint32_t stage, const GradSpec *of) {
  Graph *g = c->graph, *ignored = NULL;
  Val loss = on_rows(c, of->loss);
  bool leans = c->leans_on_rows[stage] = learns_texts(g, of) && val_ok(loss);
  if (leans && !val_ok(c->text_features))
    c->text_features = on_rows(c, ir_point_named(g, "T.feat"));
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    GradSpec spec = *of;
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    if (is_lean ? (c->sched_flags & COMPILE_NO_RECOMPUTE) != 0 : !val_ok(loss)) continue;
    if (!is_lean || leans) spec.loss = loss;
    spec.keep = stand_in[i].keep;
    spec.time = ++c->n_grads;
    const char *prefix = compile_prefix(c, stage, stand_in[i].prefix);
    spec.prefix = arena_printf(c->a, "%s" PASS_GRAD, prefix);
    ir_output(g, arena_printf(c->a, "%s" LINK_LOSS, prefix), spec.loss);
    VL_TRY(pass_grad(g, &spec, c->d, &ignored));
  }
  if (!leans || (c->sched_flags & COMPILE_NO_RECOMPUTE)) return VLPC_OK;
  GradSpec spec = *of;
  spec.loss = loss;
  return compile_chunks(c, stage, &spec);
}

VlStatus compile_gradients(Compile *c) {
  const Declaration *x = &c->declaration;
  Named *of = arena_array(c->a, Named, x->n_trainables);
  GradSpec spec[TRAIN_LOSSES] = {0};
  uint32_t n = 0, stage = 0;
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    Val v = ir_input_named(c->graph, x->trainable[i].name);
    if (!x->trainable[i].fixed && val_ok(v)) of[n++] = (Named){x->trainable[i].name, v};
  }
  for (; stage < TRAIN_LOSSES && x->loss[stage].file; stage++) {
    Val loss = ir_output_named(c->graph, compile_prefix(c, stage, LINK_LOSS));
    const char *prefix = compile_prefix(c, stage, PASS_GRAD);
    spec[stage] = (GradSpec){loss, of, n, prefix, GRAD_KEEP_all, 0};
    VL_TRY(add_stand_ins(c, stage, &spec[stage]));
  }
  Graph *last = NULL; /* all outputs, without stops */
  while (stage-- > 0) VL_TRY(pass_grad(c->graph, &spec[stage], c->d, &last));
  c->graph = last;
  return VLPC_OK;
}

bool compile_step_entry(const Compile *c, uint32_t stage, const char *of, PassEntry *out) {
  const char *prefix = compile_prefix(c, stage, of);
  const Named *at = NULL;
  uint32_t n = ir_outputs(c->graph, &at), n_to = 0;
  Named *to = arena_array(c->a, Named, n);
  for (uint32_t i = 0; i < n; i++) {
    const char *name = at[i].name + strlen(prefix);
    if (strncmp(at[i].name, prefix, strlen(prefix)) != 0) continue;
    if (strcmp(name, LINK_LOSS) == 0) to[n_to++] = (Named){"loss", at[i].v};
    if (strncmp(name, PASS_GRAD, strlen(PASS_GRAD)) == 0) to[n_to++] = (Named){name, at[i].v};
  }
  out->out = to, out->n_out = n_to;
  return c->loss_model[stage] && n_to > 0;
}

bool compile_train_entry(const Compile *c, uint32_t stage, PassEntry *out) {
  *out = (PassEntry){.name = train_entries[stage].whole};
  return compile_step_entry(c, stage, "", out);
}

/* Those of one entry, from the first to the leanest.  On rows texts are computed, so
** there is none where they are given. */
static uint32_t stand_ins_of(const Compile *c, uint32_t stage, const PassEntry *e,
                             PassEntry *out) {
  const char *before = e->name;
  bool leans = c->leans_on_rows[stage], texts = leans || e->given.n == 0;
  uint32_t n = 0;
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    if (!is_lean && !texts) continue;
    out[n] = (PassEntry){.name = arena_printf(c->a, "%s%s", e->name, stand_in[i].suffix),
                         .given = e->given,
                         .rows_of = is_lean ? NULL : e->name,
                         .lean_of = is_lean ? before : NULL};
    if (!compile_step_entry(c, stage, stand_in[i].prefix, &out[n])) continue;
    if (is_lean || leans) before = out[n].name;
    n++;
  }
  return n + compile_chunks_entry(c, stage, e, before, &out[n]);
}

static bool is_of_stage(const PassEntry *e, uint32_t stage) {
  const TrainEntries *of = &train_entries[stage];
  return strcmp(e->name, of->whole) == 0 || strcmp(e->name, of->step) == 0;
}

uint32_t compile_train_stand_ins(const Compile *c, PassEntry *out) {
  uint32_t n = 0;
  bool chunks = false;
  for (uint32_t i = 0; i < c->n_entries; i++)
    for (uint32_t stage = 0; stage < TRAIN_LOSSES; stage++)
      if (is_of_stage(&c->entry[i], stage)) n += stand_ins_of(c, stage, &c->entry[i], out + n);
  for (uint32_t i = 0; i < n; i++) chunks = chunks || out[i].chunks == CHUNKS_head;
  return chunks ? n + compile_chunks_parts(c, out + n) : n;
}

bool compile_trains(const PassEntry *e) {
  const char *stands_for = e->rows_of ? e->rows_of : e->lean_of;
  if (e->chunks != CHUNKS_none) return true;
  for (uint32_t stage = 0; stage < TRAIN_LOSSES; stage++) {
    const char *whole = train_entries[stage].whole;
    if (is_of_stage(e, stage)) return true;
    if (stands_for && strncmp(stands_for, whole, strlen(whole)) == 0) return true;
  }
  return false;
}
