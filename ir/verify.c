/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c - what must hold of every graph; all faults are collected.
**
** Rows are checked first: ids in range, operands before their users.  Then the
** graph is built again node by node beside the old one, which infers each type
** anew and so proves arity, attributes and shapes; a node that fails stands as
** an input of its stated type, so that one fault is reported once. */
#include <string.h>

#include "ir/graph_int.h"

typedef struct {
  const Graph *g;
  Graph *again;
  Str *faults;
  uint32_t n_faults;
} Check;

static void fault(Check *c, uint32_t i, const char *text) {
  c->n_faults++;
  OpCode op = c->g->node.at[i].op;
  const char *name = op < OP__COUNT ? op_info(op)->name : "no op";
  str_printf(c->faults, "%%%u %s: %s\n", i, name, text);
}

/* ---- rows ----------------------------------------------------------------- */

static bool check_ids(Check *c, uint32_t i) {
  const Graph *g = c->g;
  const Node *n = &g->node.at[i];
  uint32_t before = c->n_faults;
  if (n->op <= OP_none || n->op >= OP__COUNT) fault(c, i, "there is no such op");
  if (n->type.i == 0 || n->type.i >= g->type.n) fault(c, i, "it has no type");
  if (n->attr.i >= g->attr_list.n) fault(c, i, "its attributes are not in the table");
  if (n->loc.i >= g->loc.n) fault(c, i, "its place is not in the table");
  if (n->in_at > g->operand.n || n->n_in > g->operand.n - n->in_at) {
    fault(c, i, "its operands are not in the table");
    return false;
  }
  for (uint32_t j = 0; j < n->n_in; j++)
    if (g->operand.at[n->in_at + j].i >= i) fault(c, i, "an operand does not stand before it");
  return c->n_faults == before;
}

static bool check_blob(Check *c, uint32_t i) {
  const Attr *a = ir_attr(c->g, (Val){i}, A_blob);
  if (a == NULL || (a->blob.i != 0 && a->blob.i < c->g->blob.n)) return true;
  fault(c, i, "its blob is not in the table");
  return false;
}

static void check_named(Check *c, const char *word, const Named *at, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    bool is_sound = at[i].v.i != 0 && at[i].v.i < c->g->node.n && at[i].name != NULL;
    if (!is_sound) str_printf(c->faults, "%s %u: no such value or no name\n", word, i);
    c->n_faults += !is_sound;
    for (uint32_t j = 0; is_sound && j < i; j++) {
      if (at[j].name == NULL || strcmp(at[j].name, at[i].name) != 0) continue;
      str_printf(c->faults, "%s %u: the name %s stands twice\n", word, i, at[i].name);
      c->n_faults++;
    }
  }
}

/* The inputs are the input nodes in their order. */
static void check_inputs(Check *c) {
  uint32_t n = 0;
  for (uint32_t i = 1; i < c->g->node.n; i++) {
    if (c->g->node.at[i].op != OP_input) continue;
    if (n >= c->g->input.n || c->g->input.at[n].v.i != i) fault(c, i, "it is not the next input");
    n++;
  }
  if (n == c->g->input.n) return;
  str_printf(c->faults, "inputs: %u are listed, %u are nodes\n", c->g->input.n, n);
  c->n_faults++;
}

/* ---- types ---------------------------------------------------------------- */

/* A node of the stated type in place of one that is at fault. */
static void push_stand_in(Check *c, TypeId t) {
  NewNode n = {OP_input, 0, NULL, t, {0}};
  graph_push(c->again, &n);
}

static void report_why(Check *c, uint32_t i) {
  Why w = ir_why(c->again);
  Str s = {.arena = c->faults->arena};
  str_add(&s, w.sentence != NULL ? w.sentence : "it does not fit its operands");
  if (w.found != NULL) str_printf(&s, ", found %s", w.found);
  if (w.expected != NULL) str_printf(&s, ", expected %s", w.expected);
  fault(c, i, str_text(&s));
}

static void check_type(Check *c, uint32_t i) {
  const Node *n = &c->g->node.at[i];
  Attr attr[ATTR_MAX];
  uint32_t n_attr = attr_bring(c->again, c->g, n->attr, attr);
  bool is_typed = op_info(n->op)->kind == K_SOURCE && n->op != OP_iota;
  NodeSpec s = {n->op, n->n_in, c->g->operand.at + n->in_at, n_attr, attr,
                is_typed ? n->type : (TypeId){0}};
  Val v = graph_node_exact(c->again, &s);
  if (v.i == 0) {
    report_why(c, i);
    push_stand_in(c, n->type);
  } else if (ir_type_id(c->again, v).i != n->type.i) {
    fault(c, i, arena_printf(c->faults->arena, "its type is %s, its operands give %s",
                             type_text(c->again, ir_type_get(c->again, n->type)),
                             type_text(c->again, ir_type_of(c->again, v))));
    graph_pop(c->again);
    push_stand_in(c, n->type);
  }
}

/* ---- what a backend needs ------------------------------------------------- */

/* Sizes are computed from the symbols that the inputs bind. */
static void check_bound(Check *c) {
  uint64_t bound = 0;
  for (uint32_t i = 0; i < c->g->input.n; i++) bound |= graph_symbols(c->g, c->g->input.at[i].v);
  for (uint32_t i = 1; i < c->g->node.n; i++)
    if ((graph_symbols(c->g, (Val){i}) & ~bound) != 0)
      fault(c, i, "it has a symbol that no input's size gives");
}

/* ---- the whole ------------------------------------------------------------ */

bool ir_verify(const Graph *g, Spec spec, Str *faults) {
  Check c = {g, NULL, faults, 0};
  bool is_sound = true;
  for (uint32_t i = 1; i < g->node.n; i++)
    is_sound = check_ids(&c, i) && check_blob(&c, i) && is_sound;
  check_named(&c, "input", g->input.at, g->input.n);
  check_named(&c, "output", g->output.at, g->output.n);
  check_named(&c, "point", g->point.at, g->point.n);
  check_inputs(&c);
  if (!is_sound) return false;
  c.again = graph_like(g, faults->arena);
  for (uint32_t i = 1; i < g->node.n; i++) check_type(&c, i);
  if (spec == SPEC_CORE) check_bound(&c);
  return c.n_faults == 0;
}
