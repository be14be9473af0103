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

/* The loss on packed rows; VAL_NONE: there is none. */
static Val loss_on_rows(Compile *c, Val loss) {
  PassEntry train = {.name = TRAIN_ENTRY, .out = &(Named){"loss", loss}, .n_out = 1};
  TextRows rows;
  if ((c->sched_flags & COMPILE_NO_TEXT_ROWS) || !pass_text_rows(c->graph, &train, &rows))
    return VAL_NONE;
  c->eot = rows.eot;
  return rows.entry.out[0].v;
}

VlStatus compile_gradients(Compile *c) {
  const Named *in = NULL, *out = NULL;
  Graph *g = c->graph;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out), n = 0;
  const Declaration *x = &c->declaration;
  Named *of = arena_array(c->a, Named, x->n_trainables);
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    Val v = named(in, n_in, x->trainable[i].name);
    if (!x->trainable[i].fixed && val_ok(v)) of[n++] = (Named){x->trainable[i].name, v};
  }
  Val loss = named(out, n_out, LINK_LOSS), on_rows = loss_on_rows(c, loss);
  if (val_ok(on_rows)) {
    ir_output(g, LINK_ROWS LINK_LOSS, on_rows);
    VL_TRY(pass_grad(g, on_rows, of, n, LINK_ROWS PASS_GRAD, c->d, &c->graph));
  }
  return pass_grad(g, loss, of, n, PASS_GRAD, c->d, &c->graph);
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

bool compile_train_rows(const Compile *c, PassEntry *out) {
  *out = (PassEntry){.name = TRAIN_ENTRY PASS_ROWS, .rows_of = TRAIN_ENTRY};
  return step_entry(c, LINK_ROWS, out);
}
