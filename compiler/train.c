/* SPDX-License-Identifier: Apache-2.0 */
/* train.c - the entry that training runs: the prompt module's loss and the gradient
** of each trainable, in one program.
**
** Gradients are taken of the lowered graph, before rewrites that save work where only
** results count (absorb, narrow); these see both sides afterwards. */
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

VlStatus compile_gradients(Compile *c) {
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(c->graph, &in), n_out = ir_outputs(c->graph, &out), n = 0;
  const Declaration *x = &c->declaration;
  Named *of = arena_array(c->a, Named, x->n_trainables);
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    Val v = named(in, n_in, x->trainable[i].name);
    if (!x->trainable[i].fixed && val_ok(v)) of[n++] = (Named){x->trainable[i].name, v};
  }
  return pass_grad(c->graph, named(out, n_out, LINK_LOSS), of, n, c->d, &c->graph);
}

bool compile_train_entry(const Compile *c, PassEntry *out) {
  const Named *at = NULL;
  uint32_t n = ir_outputs(c->graph, &at), n_to = 0;
  Named *to = arena_array(c->a, Named, n);
  if (!c->loss_model) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(at[i].name, LINK_LOSS) == 0) to[n_to++] = (Named){"loss", at[i].v};
    if (strncmp(at[i].name, PASS_GRAD, strlen(PASS_GRAD)) == 0) to[n_to++] = at[i];
  }
  *out = (PassEntry){.name = TRAIN_ENTRY, .out = to, .n_out = n_to};
  return true;
}
