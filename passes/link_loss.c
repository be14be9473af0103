/* SPDX-License-Identifier: Apache-2.0 */
/* link_loss.c - a loss on what the linked towers give.
**
** in:   the linked graph, a graph of one float number and what its inputs read
** out:  the loss as an output
** A loss reads features and scores behind all writes; besides what taps name, labels
** (an input of the linked graph) and aux.NAME, another output of the module. */
#include "passes/link_int.h"

#include <string.h>

#define AUX "aux."

static bool is_scores(const LinkTap *t) { return strcmp(t->from, "logits") == 0; }

/* ---- what a tap of the loss waits for --------------------------------------------- */

static bool tower_item(Link *l, const char *name, Item *out) {
  const Point *p = link_point(l, name);
  *out = (Item){ITEM_after, p != NULL ? p->v : VAL_NONE};
  return p != NULL;
}

bool link_loss_needs(Link *l, const LinkTap *t, uint32_t k, Item *out) {
  static const char *const feature[] = {"V.feat", "T.feat"};
  if (strcmp(t->from, "labels") == 0) return k == 0 && tower_item(l, feature[0], out);
  if (is_scores(t) && l->spec->lift) return k < 2 && tower_item(l, feature[k], out);
  if (strncmp(t->from, AUX, strlen(AUX)) == 0) {
    *out = (Item){ITEM_module, link_value(l, t->from + strlen(AUX))};
    return k == 0;
  }
  if (!link_tap_needs(l, t, k, out)) return false;
  if (out->kind == ITEM_before) out->kind = ITEM_after;
  return true;
}

/* ---- the values ---------------------------------------------------------------------- */

/* One input for all losses. */
static Val labels(Link *l, Item images) {
  DimId size = ir_type_of(l->dst, link_made(l, images))->dim[0];
  Val there = ir_input_named(l->dst, "labels");
  if (val_ok(there)) return there;
  return ir_input(l->dst, "labels", ir_type(l->dst, VLPC_I64, 1, &size));
}

static Val tapped(Link *l, const LinkTap *t) {
  Item it, texts;
  if (!link_loss_needs(l, t, 0, &it) || it.kind == ITEM_frozen) return link_tapped(l, t);
  if (strcmp(t->from, "labels") == 0) return labels(l, it);
  if (is_scores(t) && l->spec->lift) {
    VL_CHECK(link_loss_needs(l, t, 1, &texts), "both towers have features");
    return link_scores(l->dst, l->spec->logit_scale, link_made(l, it), link_made(l, texts));
  }
  return link_made(l, it);
}

/* ---- checks ---------------------------------------------------------------------------- */

static const char *const readable[] = {"logits",        "labels",        "V.feat",       "T.feat",
                                       "frozen.logits", "frozen.V.feat", "frozen.T.feat"};

static VlStatus check_source(Link *l, const LinkLoss *loss, const LinkTap *t) {
  DiagAt at = {loss->file, NULL};
  if (!val_ok(ir_input_named(loss->graph, t->input)))
    return diag_error(l->d, DIAG_LINK_VALUE, at,
                      "the loss has no input '%s', to which %s is tapped", t->input, t->from);
  if (strncmp(t->from, AUX, strlen(AUX)) == 0 && !val_ok(link_value(l, t->from + strlen(AUX))))
    return diag_error(l->d, DIAG_LINK_VALUE, at, "the module has no output '%s'",
                      t->from + strlen(AUX));
  for (size_t i = 0; i < VL_COUNT(readable); i++)
    if (strcmp(t->from, readable[i]) == 0) return VLPC_OK;
  if (strncmp(t->from, AUX, strlen(AUX)) == 0) return VLPC_OK;
  VlStatus s = diag_error(l->d, DIAG_LINK_POINT, at, "a loss cannot read %s", t->from);
  diag_expected(l->d, "features, scores, labels or aux.NAME");
  return s;
}

VlStatus link_check_loss(Link *l, const LinkLoss *loss) {
  const Named *in = NULL, *out = NULL;
  uint32_t n = ir_inputs(loss->graph, &in);
  DiagAt at = {loss->file, NULL};
  for (uint32_t i = 0; i < loss->n_taps; i++) VL_TRY(check_source(l, loss, &loss->tap[i]));
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = 0;
    while (k < loss->n_taps && strcmp(loss->tap[k].input, in[i].name) != 0) k++;
    if (k == loss->n_taps)
      return diag_error(l->d, DIAG_LINK_VALUE, at, "the loss's input '%s' is not tapped",
                        in[i].name);
  }
  if (ir_outputs(loss->graph, &out) == 1) return VLPC_OK;
  VlStatus s = diag_error(l->d, DIAG_LINK_VALUE, at, "a loss has one output");
  diag_found(l->d, "%u", ir_outputs(loss->graph, &out));
  return s;
}

/* ---- the graph --------------------------------------------------------------------------- */

/* Each input's value; sizes that the loss names are those of what it reads. */
static VlStatus read_taps(Link *l, const LinkLoss *loss, Val *made, DimId *size) {
  for (uint32_t i = 0; i < loss->n_taps; i++) {
    Val in = ir_input_named(loss->graph, loss->tap[i].input), v = tapped(l, &loss->tap[i]);
    VL_CHECK(val_ok(v), "taps were checked");
    VL_TRY(link_fit(l, (LinkFit){&loss->tap[i], loss->graph, loss->file}, in,
                    ir_type_of(l->dst, v), size));
    made[in.i] = v;
  }
  return VLPC_OK;
}

VlStatus link_loss(Link *l, const LinkLoss *of) {
  const Graph *loss = of->graph;
  const Named *out = NULL;
  uint32_t n = ir_n_vals(loss), most = ir_most_in(loss);
  Val *made = arena_array(l->a, Val, n + 1), *in = arena_array(l->a, Val, most + 1);
  DimId *size = arena_array(l->a, DimId, DIM_MAX_SYMS);
  Graft from = {.src = loss, .dst = l->dst, .size = size};
  VL_TRY(read_taps(l, of, made, size));
  graft_begin(&from);
  for (uint32_t i = 1; i <= n; i++) {
    Val v = {i};
    if (ir_op(loss, v) == OP_input) continue;
    for (uint32_t k = 0; k < ir_n_in(loss, v); k++) {
      Val x = ir_in(loss, v, k);
      in[k] = val_ok(x) ? made[x.i] : VAL_NONE;
    }
    graft_place(&from, v);
    made[i] = graft_node(&from, v, in);
    if (val_ok(made[i])) continue;
    return diag_error(l->d, DIAG_LINK_WIDTH, (DiagAt){of->file, NULL},
                      "the loss does not fit what it reads: %s at %s", ir_why(l->dst).sentence,
                      op_info(ir_op(loss, v))->name);
  }
  (void)ir_outputs(loss, &out);
  ir_output(l->dst, of->output, made[out[0].v.i]);
  return VLPC_OK;
}
