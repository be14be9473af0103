/* SPDX-License-Identifier: Apache-2.0 */
/* grad.c - differentiation, graph to graph, in reverse.
**
** in:      a graph, its loss, the values to differentiate by
** out:     the same graph with their gradients as outputs
** method:  two sweeps mark what is active: forwards what depends on a trainable,
**          backwards what reaches the loss.  Then nodes from the loss down: by
**          the time a node is reached, all its readers have left their parts, in
**          the order of their numbers; the parts are summed in that order, and
**          each active operand gets its own (ir_grad)
** leaves:  frozen weights and everything below the first trainable alone
** What is not kept of the way there is computed once more from what is, behind an
** `again` without which equal nodes would be one, right before its gradient.
** Parts that are slices of one value side by side (q, k, v of one linear) become
** one concat instead of padded sums. */
#include "base/vec.h"
#include "passes/pass_int.h"

typedef struct {
  Graph *g;
  Diag *d;
  uint32_t n;          /* values of the graph before */
  const Named *of;     /* trainables */
  uint32_t n_of;
  uint32_t *from;      /* by value: 1 + a trainable that it depends on; 0: none */
  bool *reaches;       /* by value: the loss */
  VEC(Val) *parts;     /* by value: what its readers have left */
  Val *grad;           /* by value: summed */
  GradKeep keep;
  uint32_t time;
  bool *activated;     /* by value: an activation reads it */
  Val *anew;           /* by value: computed once more; VAL_NONE: not yet */
} Diff;

/* ---- activity ------------------------------------------------------------ */

static bool is_float(const Graph *g, Val v) { return dtype_is_float(ir_type_of(g, v)->dtype); }

/* Operand i of v can get a part of v's gradient. */
static bool passes(const Graph *g, Val v, uint32_t i) {
  Val x = ir_in(g, v, i);
  return val_ok(x) && is_float(g, v) && is_float(g, x) && op_grad_kind(ir_op(g, v)) != GRAD_ZERO;
}

static bool is_active(const Diff *f, Val v) {
  return v.i <= f->n && f->from[v.i] != 0 && f->reaches[v.i];
}

static void mark(Diff *f, Val loss) {
  for (uint32_t i = 0; i < f->n_of; i++) f->from[f->of[i].v.i] = i + 1;
  for (uint32_t i = 1; i <= f->n; i++)
    for (uint32_t k = 0; k < ir_n_in(f->g, (Val){i}) && f->from[i] == 0; k++)
      if (passes(f->g, (Val){i}, k)) f->from[i] = f->from[ir_in(f->g, (Val){i}, k).i];
  f->reaches[loss.i] = true;
  for (uint32_t i = loss.i; i > 0; i--)
    for (uint32_t k = 0; f->reaches[i] && k < ir_n_in(f->g, (Val){i}); k++)
      if (passes(f->g, (Val){i}, k)) f->reaches[ir_in(f->g, (Val){i}, k).i] = true;
}

/* ---- sums of parts ------------------------------------------------------- */

/* A part that is zero but for [at, at + size) of one axis. */
typedef struct {
  Val inner;
  uint32_t axis;
  DimId at, size, end;
} Band;

static bool is_band(Graph *g, Val v, Band *out) {
  double value = 1;
  uint32_t n = 0;
  if (!m_is(g, v, OP_pad) || !ir_is_splat(g, ir_in(g, v, 1), &value) || value != 0) return false;
  const Attr *before = ir_attr(g, v, A_before), *after = ir_attr(g, v, A_after);
  out->inner = ir_in(g, v, 0);
  for (uint32_t i = 0; i < before->n; i++) {
    if (m_dim_is(g, before->dims[i], 0) && m_dim_is(g, after->dims[i], 0)) continue;
    n++;
    out->axis = i;
    out->at = before->dims[i];
    out->size = ir_type_of(g, out->inner)->dim[i];
    out->end = dim_add(ir_dims(g), out->at, out->size);
  }
  return n == 1;
}

static bool same_axis(const Band *band, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    if (band[i].axis != band[0].axis) return false;
  return true;
}

/* Puts side by side what is so; false when a band is apart from the others. */
static bool chain(Band *band, uint32_t n) {
  for (uint32_t i = 1; i < n; i++) {
    uint32_t next = i;
    while (next < n && band[next].at != band[i - 1].end && band[next].end != band[0].at) next++;
    if (next == n) return false;
    Band b = band[next];
    bool is_first = b.end == band[0].at;
    for (uint32_t k = next; k > i; k--) band[k] = band[k - 1];
    for (uint32_t k = i; is_first && k > 0; k--) band[k] = band[k - 1];
    band[is_first ? 0 : i] = b;
  }
  return true;
}

/* One value for bands that lie side by side, else VAL_NONE. */
static Val joined(Graph *g, const Val *part, uint32_t n) {
  Band *band = arena_array(ir_arena(g), Band, n);
  Val *inner = arena_array(ir_arena(g), Val, n);
  if (n < 2) return VAL_NONE;
  for (uint32_t i = 0; i < n; i++)
    if (!is_band(g, part[i], &band[i])) return VAL_NONE;
  if (!same_axis(band, n) || !chain(band, n)) return VAL_NONE;
  for (uint32_t i = 0; i < n; i++) inner[i] = band[i].inner;
  Val all = ir_concat(g, inner, n, band[0].axis);
  Type t = *ir_type_of(g, part[0]);
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t.rank; i++) before[i] = after[i] = dim_const(ir_dims(g), 0);
  before[band[0].axis] = band[0].at;
  after[band[0].axis] = dim_sub(ir_dims(g), t.dim[band[0].axis], band[n - 1].end);
  Val in[2] = {all, ir_scalar(g, t.dtype, 0)};
  Attr at[2] = {attr_dims(A_before, before, t.rank), attr_dims(A_after, after, t.rank)};
  bool is_whole = ir_type_id(g, all).i == ir_type_id(g, part[0]).i;
  return is_whole ? all : ir_node(g, OP_pad, 2, in, 2, at);
}

static Val sum_of(Graph *g, const Val *part, uint32_t n) {
  Val sum = joined(g, part, n);
  if (val_ok(sum)) return sum;
  sum = part[0];
  for (uint32_t i = 1; i < n; i++) sum = ir_ew2(g, OP_add, sum, part[i]);
  return sum;
}

/* ---- values once more ---------------------------------------------------- */

static bool is_moved(OpCode op) {
  return op == OP_slice || op == OP_reshape || op == OP_permute;
}

/* What no trainable changes stays: a step may be given it. */
static bool is_made_anew(const Diff *f, Val v) {
  OpCode op = ir_op(f->g, v);
  if (f->keep == GRAD_KEEP_all || v.i > f->n || f->from[v.i] == 0) return false;
  if (op == OP_layernorm) return true;
  if (f->keep == GRAD_KEEP_narrow) return op == OP_linear && f->activated[v.i];
  return op == OP_linear || op == OP_attention || op == OP_attention_varlen || op == OP_gelu ||
         (is_moved(op) && is_made_anew(f, ir_in(f->g, v, 0)));
}

static Val copied(Diff *f, Val v, const Val *in) {
  const Attr *attr = NULL;
  uint32_t n = ir_attrs(f->g, v, &attr);
  return ir_node(f->g, ir_op(f->g, v), ir_n_in(f->g, v), in, n, attr);
}

/* v for the way back: itself where it is kept. */
static Val once_more(Diff *f, Val v, uint32_t depth) {
  if (!val_ok(v) || depth == CHAIN_MAX || !is_made_anew(f, v)) return v;
  if (val_ok(f->anew[v.i])) return f->anew[v.i];
  uint32_t n = ir_n_in(f->g, v);
  Val *in = arena_array(ir_arena(f->g), Val, n);
  Attr time = attr_int(A_time, f->time);
  for (uint32_t i = 0; i < n; i++) {
    Val x = ir_in(f->g, v, i);
    in[i] = once_more(f, x, depth + 1);
    if (val_ok(x) && val_eq(in[i], x) && f->from[x.i] != 0)
      in[i] = ir_node(f->g, OP_again, 1, &x, 1, &time);
  }
  return f->anew[v.i] = copied(f, v, in);
}

/* The node with what its gradient may read. */
static Val for_gradient(Diff *f, Val v) {
  uint32_t n = ir_n_in(f->g, v);
  Val *in = arena_array(ir_arena(f->g), Val, n);
  bool same = true;
  if (is_made_anew(f, v)) return once_more(f, v, 0);
  for (uint32_t i = 0; i < n; i++) {
    in[i] = once_more(f, ir_in(f->g, v, i), 0);
    same = same && val_eq(in[i], ir_in(f->g, v, i));
  }
  return same ? v : copied(f, v, in);
}

static void note_activated(Diff *f) {
  for (uint32_t i = 1; i <= f->n; i++)
    if (ir_op(f->g, (Val){i}) == OP_gelu || ir_op(f->g, (Val){i}) == OP_relu)
      f->activated[ir_in(f->g, (Val){i}, 0).i] = true;
}

/* ---- the sweep ----------------------------------------------------------- */

static VlStatus refuse(const Diff *f, Val v, const char *why) {
  VlStatus s = diag_error(f->d, DIAG_GRAD_RULE, ir_at(f->g, ir_loc(f->g, v)),
                          "no gradient passes %s", op_info(ir_op(f->g, v))->name);
  diag_found(f->d, "it lies between the trainable '%s' and the loss",
             f->of[f->from[v.i] - 1].name);
  if (why != NULL) diag_expected(f->d, "%s", why);
  diag_fix(f->d, "stop the gradient before it, or compute the same without it");
  return s;
}

static VlStatus pass_down(Diff *f, Val v) {
  Val dy = sum_of(f->g, f->parts[v.i].at, f->parts[v.i].n);
  f->grad[v.i] = dy;
  Val at = for_gradient(f, v);
  for (uint32_t i = 0; i < ir_n_in(f->g, v); i++) {
    if (!passes(f->g, v, i) || !is_active(f, ir_in(f->g, v, i))) continue;
    if (op_grad_kind(ir_op(f->g, v)) == GRAD_NONE) return refuse(f, v, NULL);
    Val dx = ir_grad(f->g, at, i, dy);
    if (!val_ok(dx)) return refuse(f, v, "sizes that its gradient can be written with");
    *vec_push(ir_arena(f->g), &f->parts[ir_in(f->g, v, i).i]) = dx;
  }
  return VLPC_OK;
}

static VlStatus sweep(Diff *f, Val loss) {
  Type t = *ir_type_of(f->g, loss);
  Val one = ir_scalar(f->g, t.dtype, 1);
  if (t.rank > 0) one = ir_broadcast(f->g, one, t.dim, t.rank);
  *vec_push(ir_arena(f->g), &f->parts[loss.i]) = one;
  for (uint32_t i = loss.i; i > 0; i--) {
    if (!is_active(f, (Val){i}) || f->parts[i].n == 0) continue;
    ir_set_loc(f->g, ir_loc(f->g, (Val){i}));
    VL_TRY(pass_down(f, (Val){i}));
  }
  return VLPC_OK;
}

/* ---- the pass ------------------------------------------------------------ */

static VlStatus check(Graph *g, Val loss, const Named *of, uint32_t n, Diag *d) {
  int64_t count = 0;
  if (!is_float(g, loss) || !ir_count_const(g, loss, &count) || count != 1) {
    Str s = {.arena = ir_arena(g)};
    const Type *t = ir_type_of(g, loss);
    for (uint32_t i = 0; i < t->rank; i++) {
      str_add(&s, i ? "," : "");
      dim_print(ir_dims(g), t->dim[i], &s);
    }
    VlStatus status = diag_error(d, DIAG_GRAD_LOSS, ir_at(g, ir_loc(g, loss)),
                                 "the loss is not one float number");
    diag_found(d, "%s[%s]", dtype_name(t->dtype), str_text(&s));
    diag_expected(d, "a float type with one element");
    diag_fix(d, "end the loss with a sum or a mean");
    return status;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (is_float(g, of[i].v)) continue;
    VlStatus status = diag_error(d, DIAG_GRAD_INPUT, ir_at(g, ir_loc(g, of[i].v)),
                                 "'%s' cannot be trained", of[i].name);
    diag_found(d, "%s", dtype_name(ir_type_of(g, of[i].v)->dtype));
    diag_expected(d, "a float type");
    return status;
  }
  return VLPC_OK;
}

static Val without_stop(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  return ir_op(rw->src, src) == OP_stop ? in[0] : VAL_NONE;
}

VlStatus pass_grad(Graph *g, const GradSpec *spec, Diag *d, Graph **out) {
  Arena *a = ir_arena(g);
  uint32_t n_vals = ir_n_vals(g);
  VL_TRY(check(g, spec->loss, spec->of, spec->n, d));
  Diff f = {.g = g, .d = d, .n = n_vals, .of = spec->of, .n_of = spec->n, .keep = spec->keep};
  f.time = spec->time ? spec->time : (uint32_t)spec->keep;
  f.from = arena_array(a, uint32_t, n_vals + 1);
  f.reaches = arena_array(a, bool, n_vals + 1);
  f.parts = arena_array_bytes(a, n_vals + 1, sizeof *f.parts);
  f.grad = arena_array(a, Val, n_vals + 1);
  f.activated = arena_array(a, bool, n_vals + 1);
  f.anew = arena_array(a, Val, n_vals + 1);
  note_activated(&f);
  mark(&f, spec->loss);
  VL_TRY(sweep(&f, spec->loss));
  ir_set_loc(g, (LocId){0});
  for (uint32_t i = 0; i < spec->n; i++) {
    const Named *of = &spec->of[i];
    Val dx = f.grad[of->v.i];
    if (val_ok(dx)) ir_output(g, arena_printf(a, "%s%s", spec->prefix, of->name), dx);
  }
  *out = ir_rewrite(g, a, without_stop, NULL, NULL);
  return VLPC_OK;
}
