/* SPDX-License-Identifier: Apache-2.0 */
/* train.c - the entry that training runs: the prompt module's loss and the gradient
** of each trainable, in one program.
**
** Gradients are taken of the lowered graph, before rewrites that save work where only
** results count (absorb, narrow); these see both sides afterwards.  Where texts can be
** packed, there is the same once more on the rows that count (text_rows). */
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

/* Entries that stand in for TRAIN_ENTRY: on packed rows, and then with less and less
** memory, because less is kept for the way back. */
static const struct {
  const char *entry, *prefix; /* of its outputs */
  GradKeep keep;
} stand_in[] = {
    {TRAIN_ENTRY PASS_ROWS, LINK_STEP "rows.", GRAD_KEEP_all},
    {TRAIN_ENTRY "_narrow", LINK_STEP "narrow.", GRAD_KEEP_narrow},
    {TRAIN_ENTRY "_sums", LINK_STEP "sums.", GRAD_KEEP_sums},
};

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
  Val on_rows = loss_on_rows(c, of->loss);
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    GradSpec spec = *of;
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    if (is_lean ? (c->sched_flags & COMPILE_NO_RECOMPUTE) != 0 : !val_ok(on_rows)) continue;
    if (val_ok(on_rows)) spec.loss = on_rows;
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

uint32_t compile_train_stand_ins(const Compile *c, PassEntry *out) {
  const char *before = TRAIN_ENTRY;
  uint32_t n = 0;
  for (uint32_t i = 0; i < VL_COUNT(stand_in); i++) {
    bool is_lean = stand_in[i].keep != GRAD_KEEP_all;
    out[n] = (PassEntry){.name = stand_in[i].entry,
                         .rows_of = is_lean ? NULL : before,
                         .lean_of = is_lean ? before : NULL};
    if (step_entry(c, stand_in[i].prefix, &out[n])) before = out[n++].name;
  }
  return n;
}
