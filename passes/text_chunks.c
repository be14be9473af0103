/* SPDX-License-Identifier: Apache-2.0 */
/* text_chunks.c - a loss and its texts apart, so that a step can take some classes at a time.
**
** in:      a loss, and the features of texts that it depends on
** adds:    the loss once more, with an input in place of the features; and a sum whose
**          gradients are those of the loss, where another input is the features' gradient
** exact:   features are computed text by text, so that those of some classes are a part of
**          all; gradients through them are sums over classes */
#include "base/train_entries.h"
#include "passes/pass_int.h"

#include <string.h>

/* Value v with `in` in place of its operands, where one of them is another; else VAL_NONE. */
static Val copied(Graph *g, Val v, const Val *twin) {
  uint32_t n = ir_n_in(g, v);
  Val *in = arena_array(ir_arena(g), Val, n);
  const Attr *attr = NULL;
  bool same = true;
  for (uint32_t i = 0; i < n; i++) {
    Val x = ir_in(g, v, i);
    bool has = val_ok(x) && val_ok(twin[x.i]);
    in[i] = has ? twin[x.i] : x;
    same = same && !has;
  }
  if (same) return VAL_NONE;
  uint32_t n_attr = ir_attrs(g, v, &attr);
  ir_set_loc(g, ir_loc(g, v));
  return ir_node(g, ir_op(g, v), n, in, n_attr, attr);
}

/* v with y in place of x; VAL_NONE: it does not depend on x. */
static Val with(Graph *g, Val v, Val x, Val y) {
  Val *twin = arena_array(ir_arena(g), Val, VL_MAX(v.i, x.i) + 1);
  twin[x.i] = y;
  for (uint32_t i = x.i + 1; i <= v.i; i++) twin[i] = copied(g, (Val){i}, twin);
  ir_set_loc(g, (LocId){0});
  return twin[v.i];
}

static Val sum_of_product(Graph *g, Val a, Val b) {
  static const int64_t axes[] = {0, 1};
  return ir_reduce(g, OP_reduce_sum, ir_ew2(g, OP_mul, a, b), axes, 2, false);
}

bool pass_text_chunks(Graph *g, Val loss, Val features, TextChunks *out) {
  TypeId type = ir_type_id(g, features);
  if (ir_type_of(g, features)->rank != 2) return false;
  out->given = ir_input_named(g, CHUNK_FEATURES);
  if (!val_ok(out->given)) out->given = ir_input(g, CHUNK_FEATURES, type);
  Val gradient = ir_input_named(g, CHUNK_GRADIENT);
  if (!val_ok(gradient)) gradient = ir_input(g, CHUNK_GRADIENT, type);
  out->loss = with(g, loss, features, out->given);
  if (!val_ok(out->loss)) return false;
  out->sum = sum_of_product(g, features, gradient);
  return val_ok(out->sum);
}

/* ---- what an entry reads ---------------------------------------------------- */

static bool reads(const Graph *g, const PassEntry *e, const char *const *input, uint32_t n) {
  bool *needed = arena_array(ir_arena(g), bool, ir_n_vals(g) + 1);
  for (uint32_t i = 0; i < e->n_out; i++) needed[e->out[i].v.i] = true;
  for (uint32_t i = ir_n_vals(g); i > 0; i--) {
    bool given = false;
    for (uint32_t k = 0; k < e->given.n; k++) given = given || e->given.at[k].v.i == i;
    if (!needed[i] || given) continue;
    for (uint32_t k = 0; ir_op(g, (Val){i}) == OP_input && k < n; k++)
      if (strcmp(ir_attr(g, (Val){i}, A_name)->str, input[k]) == 0) return true;
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++) needed[ir_in(g, (Val){i}, k).i] = true;
  }
  return false;
}

bool pass_reads_texts(const Graph *g, const PassEntry *e) {
  static const char *const input[] = {"text",     "attention_mask", "name_lengths",
                                      "row_ids",  "row_positions",  "row_sources",
                                      "run_bounds", "row_ends"};
  return reads(g, e, input, VL_COUNT(input));
}

bool pass_reads_images(const Graph *g, const PassEntry *e) {
  static const char *const input[] = {"image"};
  return reads(g, e, input, VL_COUNT(input));
}
