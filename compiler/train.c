/* SPDX-License-Identifier: Apache-2.0 */
/* train.c - the entry that training runs: the prompt module's loss and the gradient
** of each trainable, in one program.
**
** Gradients are taken of the lowered graph, when keys and values of a single query are
** gone (absorb) and before products are made narrower (narrow sees both sides).  Where
** texts can be packed, there is the same once more on the rows that count (text_rows). */
#include "compiler/compiler.h"

#include <string.h>

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

VlStatus compile_read_loss(Compile *c, LinkLoss *out) {
  const DeclaredLoss *x = &c->declaration.loss;
  FeOptions o = {.external_root = c->o->external_root, .memory = c->o->memory_limit};
  Graph *g = NULL;
  if (!c->o->train) return VLPC_OK;
  if (!has_learned(c))
    return unfit(c, "the module has nothing to train", "compile it without --train");
  if (!x->file)
    return unfit(c, "the module's declaration names no loss", "add \"loss\", or see vlpc prompt");
  const char *slash = strrchr(c->o->prompt, '/');
  int n = slash ? (int)(slash - c->o->prompt) + 1 : 0;
  out->file = arena_printf(c->a, "%.*s%s", n, c->o->prompt, x->file);
  out->tap = x->tap, out->n_taps = x->n_taps;
  VL_TRY(fe_read(c->a, out->file, &o, c->d, &c->loss_model));
  VL_TRY(fe_import(c->loss_model, &g));
  out->graph = g;
  return VLPC_OK;
}

/* ---- gradients -------------------------------------------------------------------- */

static Val named(const Named *at, uint32_t n, const char *name) {
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(at[i].name, name) == 0) return at[i].v;
  return VAL_NONE;
}

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
  const Named *point = NULL;
  uint32_t n = ir_points(g, &point);
  for (uint32_t i = 0; i < of->n; i++) learned[of->of[i].v.i] = true;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++)
      learned[i] = learned[i] || learned[ir_in(g, (Val){i}, k).i];
  return learned[named(point, n, "T.feat").i];
}

/* The loss on packed rows; VAL_NONE: there is none. */
static Val loss_on_rows(Compile *c, Val loss) {
  PassEntry train = {.name = TRAIN_ENTRY, .out = &(Named){"loss", loss}, .n_out = 1};
  TextRows rows;
  if ((c->sched_flags & COMPILE_NO_TEXT_ROWS) || !pass_text_rows(c->graph, &train, &rows))
    return VAL_NONE;
  c->eot = rows.eot;
  return rows.entry.out[0].v;
}

static VlStatus add_stand_ins(Compile *c, const GradSpec *of) {
  Graph *g = c->graph, *ignored = NULL;
  c->leans_on_rows = learns_texts(g, of);
  Val on_rows = loss_on_rows(c, of->loss);
  c->leans_on_rows = c->leans_on_rows && val_ok(on_rows);
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    GradSpec spec = *of;
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    if (is_lean ? (c->sched_flags & COMPILE_NO_RECOMPUTE) != 0 : !val_ok(on_rows)) continue;
    if (!is_lean || c->leans_on_rows) spec.loss = on_rows;
    spec.keep = stand_in[i].keep;
    spec.prefix = arena_printf(c->a, "%s" PASS_GRAD, stand_in[i].prefix);
    ir_output(g, arena_printf(c->a, "%s" LINK_LOSS, stand_in[i].prefix), spec.loss);
    VL_TRY(pass_grad(g, &spec, c->d, &ignored));
  }
  return VLPC_OK;
}

VlStatus compile_gradients(Compile *c) {
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(c->graph, &in), n_out = ir_outputs(c->graph, &out);
  const Declaration *x = &c->declaration;
  Named *of = arena_array(c->a, Named, x->n_trainables);
  GradSpec spec = {named(out, n_out, LINK_LOSS), of, 0, PASS_GRAD, GRAD_KEEP_all};
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    Val v = named(in, n_in, x->trainable[i].name);
    if (!x->trainable[i].fixed && val_ok(v)) of[spec.n++] = (Named){x->trainable[i].name, v};
  }
  VL_TRY(add_stand_ins(c, &spec));
  return pass_grad(c->graph, &spec, c->d, &c->graph);
}

/* Loss and gradients among the outputs whose names begin with `prefix`. */
static bool step_entry(const Compile *c, const char *prefix, PassEntry *out) {
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
  return c->loss_model && n_to > 0;
}

bool compile_train_entry(const Compile *c, PassEntry *out) {
  *out = (PassEntry){.name = TRAIN_ENTRY};
  return step_entry(c, "", out);
}

/* Those of one entry, from the first to the leanest.  On rows texts are computed, so
** there is none where they are given. */
static uint32_t stand_ins_of(const Compile *c, const PassEntry *e, PassEntry *out) {
  const char *before = e->name;
  bool texts = c->leans_on_rows || e->given.n == 0;
  uint32_t n = 0;
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    if (!is_lean && !texts) continue;
    out[n] = (PassEntry){.name = arena_printf(c->a, "%s%s", e->name, stand_in[i].suffix),
                         .given = e->given,
                         .rows_of = is_lean ? NULL : e->name,
                         .lean_of = is_lean ? before : NULL};
    if (!step_entry(c, stand_in[i].prefix, &out[n])) continue;
    if (is_lean || c->leans_on_rows) before = out[n].name;
    n++;
  }
  return n;
}

uint32_t compile_train_stand_ins(const Compile *c, PassEntry *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < c->n_entries; i++) {
    const char *name = c->entry[i].name;
    if (strcmp(name, TRAIN_ENTRY) == 0 || strcmp(name, TRAIN_STEP_ENTRY) == 0)
      n += stand_ins_of(c, &c->entry[i], out + n);
  }
  return n;
}
