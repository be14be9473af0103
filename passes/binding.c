/* SPDX-License-Identifier: Apache-2.0 */
/* binding.c - when a value is known, and where a program is cut by that.
**
** in:      a final graph, and which of its inputs are trainables
** method:  a value is known as late as the latest of its operands; inputs have
**          their time by name.  What is known early and read late is cut: it
**          becomes an output of the early entry and an input of the late one.
**          Views are not cut but what they view. */
#include "base/train_entries.h"
#include "passes/pass_int.h"

#include <string.h>

static const struct {
  const char *input;
  BindTime time;
} input_time[] = {
    {"text", BIND_classes},         {"attention_mask", BIND_classes},
    {"name_lengths", BIND_classes}, {"row_ids", BIND_classes},
    {"row_positions", BIND_classes}, {"run_bounds", BIND_classes},
    {"row_ends", BIND_classes},     {"row_sources", BIND_classes},
    {"labels", BIND_step},          {CHUNK_FEATURES, BIND_step},
    {CHUNK_GRADIENT, BIND_step},
};

static const char *const time_name[BIND__COUNT] = {
    [BIND_const] = "const",
    [BIND_prompts] = "prompts",
    [BIND_classes] = "classes",
    [BIND_image] = "image",
    [BIND_step] = "step",
};

const char *bind_name(BindTime t) { return time_name[t]; }

static BindTime time_of_input(const char *name, const TrainableNames *trainables,
                              BindTime time) {
  for (uint32_t i = 0; i < trainables->n; i++)
    if (strcmp(trainables->at[i], name) == 0) return time;
  for (size_t i = 0; i < VL_COUNT(input_time); i++)
    if (strcmp(input_time[i].input, name) == 0) return input_time[i].time;
  return BIND_image;
}

BindTime *pass_binding(const Graph *g, Arena *a, const TrainableNames *trainables, BindTime time) {
  uint32_t n = ir_n_vals(g);
  BindTime *at = arena_array(a, BindTime, n + 1);
  for (uint32_t i = 1; i <= n; i++) {
    Val v = {i};
    at[i] = BIND_const;
    if (ir_op(g, v) == OP_input)
      at[i] = time_of_input(ir_attr(g, v, A_name)->str, trainables, time);
    for (uint32_t k = 0; k < ir_n_in(g, v); k++) at[i] = VL_MAX(at[i], at[ir_in(g, v, k).i]);
  }
  return at;
}

/* ---- cuts ------------------------------------------------------------------- */

/* Moves, and casts of inputs, are made again by whoever reads them. */
static Val behind_views(const Graph *g, const BindTime *at, Val v) {
  while (op_info(ir_op(g, v))->kind == K_MOVE && ir_n_in(g, v) == 1 &&
         at[ir_in(g, v, 0).i] == at[v.i])
    v = ir_in(g, v, 0);
  return v;
}

static bool is_taken(const Graph *g, const Cut *c, Val v) {
  return c->type.i == 0 || ir_type_id(g, v).i == c->type.i;
}

/* Marks what is computed late, from the last value down, and what of the time it reads
** is cut; a value that is not taken is computed late as well. */
static bool *mark_cut(const Graph *g, Arena *a, const Cut *c) {
  uint32_t n = ir_n_vals(g);
  bool *late = arena_array(a, bool, n + 1), *needed = arena_array(a, bool, n + 1);
  bool *cut = arena_array(a, bool, n + 1);
  for (uint32_t e = 0; e < c->n_late; e++)
    for (uint32_t i = 0; i < c->late[e].n_out; i++) needed[c->late[e].out[i].v.i] = true;
  for (uint32_t i = n; i > 0; i--) {
    late[i] = needed[i] && (late[i] || c->at[i] > c->time);
    for (uint32_t k = 0; needed[i] && k < ir_n_in(g, (Val){i}); k++) {
      Val x = ir_in(g, (Val){i}, k);
      if (!val_ok(x)) continue;
      Val base = behind_views(g, c->at, x);
      bool known = late[i] && c->at[x.i] == c->time;
      if (known && is_taken(g, c, base)) cut[base.i] = true;
      else if (known && is_taken(g, c, x)) cut[x.i] = true;
      else needed[x.i] = true, late[x.i] = late[x.i] || known;
    }
  }
  return cut;
}

static const char *output_name(const PassEntry *from, Val v) {
  for (uint32_t i = 0; from != NULL && i < from->n_out; i++)
    if (val_eq(from->out[i].v, v)) return from->out[i].name;
  return NULL;
}

CutList pass_cut(const Graph *g, Arena *a, const Cut *c) {
  uint32_t n = ir_n_vals(g), n_new = 0;
  bool *cut = mark_cut(g, a, c);
  CutList out = {.at = arena_array(a, Named, n + 1)};
  for (uint32_t i = 1; i <= n; i++) {
    if (!cut[i] || ir_op(g, (Val){i}) == OP_input) continue;
    const char *name = output_name(c->early, (Val){i});
    if (name == NULL) name = arena_printf(a, "%s.%u", bind_name(c->time), n_new++);
    out.at[out.n++] = (Named){name, {i}};
  }
  return out;
}
