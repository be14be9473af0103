/* SPDX-License-Identifier: Apache-2.0 */
/* sched_loops.c - the nodes that become loop nests: elementwise chains,
** reductions, copies, gathers, and contractions that have no kernel. */
#include "passes/sched_nest.h"

#include <string.h>

static AxisMap identity(void) {
  AxisMap m;
  for (int8_t i = 0; i < VLPC_MAX_RANK; i++) m.axis[i] = i;
  return m;
}

static void axes_of(Nest *n, const DimId *size, uint32_t rank) {
  for (uint32_t i = 0; i < rank; i++) nest_axis(n, size[i]);
}

static void store_at(Nest *n, const Place *p) {
  AxisMap m = identity();
  NestAccess x = nest_access(n, p, &m);
  nest_end(n, &x);
}

/* The last row, cast where it is not of the type wanted. */
static void cast_row(Nest *n, VlDtype from, VlDtype to) {
  if (from != to) nest_op(n, OP_cast, to, n->n_body - 1, 0, 0);
}

void sched_copy(Sched *s, Val v, const Place *from, const Place *to) {
  VlDtype dtype = place_dtype(s, from);
  Nest *n = nest_begin(s, v);
  AxisMap m = identity();
  axes_of(n, to->size, to->rank);
  NestAccess x = nest_access(n, from, &m);
  nest_load(n, dtype, &x);
  cast_row(n, dtype, place_dtype(s, to));
  store_at(n, to);
}

void sched_elementwise(Sched *s, Val v) {
  const Type *t = ir_type_of(s->g, v);
  Nest *n = nest_begin(s, v);
  AxisMap m = identity();
  axes_of(n, t->dim, t->rank);
  nest_value(n, v, &m);
  Place to = sched_dest(s, v);
  store_at(n, &to);
}

void sched_concat(Sched *s, Val v) {
  Place whole = sched_dest(s, v);
  uint32_t axis = (uint32_t)ir_attr_int(s->g, v, A_axis, 0);
  DimId at = sched_const(s, 0);
  for (uint32_t i = 0; i < ir_n_in(s->g, v); i++) {
    Val x = ir_in(s->g, v, i);
    const Type *t = ir_type_of(s->g, x);
    Place part;
    if (!place_shifted(s, &whole, axis, at, &part)) {
      sched_refuse(s, v, "a part's place is not affine in the sizes");
      return;
    }
    memcpy(part.size, t->dim, sizeof part.size);
    if (!val_eq(s->info[x.i].concat, v)) {
      Place from = sched_source(s, x);
      sched_copy(s, v, &from, &part);
    }
    at = sched_add(s, at, t->dim[axis]);
  }
}

void sched_pad(Sched *s, Val v) {
  const Attr *before = ir_attr(s->g, v, A_before);
  const Type *t = ir_type_of(s->g, v), *xt = ir_type_of(s->g, ir_in(s->g, v, 0));
  Place to = sched_dest(s, v);
  Nest *n = nest_begin(s, v);
  axes_of(n, t->dim, t->rank);
  AxisMap none;
  memset(none.axis, -1, sizeof none.axis);
  nest_value(n, ir_in(s->g, v, 1), &none);
  store_at(n, &to);
  Place from = sched_source(s, ir_in(s->g, v, 0)), part = to;
  for (uint32_t i = 0; i < t->rank; i++) {
    Place moved;
    if (!place_shifted(s, &part, i, before->dims[i], &moved)) {
      sched_refuse(s, v, "its padding is not affine in the sizes");
      return;
    }
    part = moved;
  }
  memcpy(part.size, xt->dim, sizeof part.size);
  sched_copy(s, v, &from, &part);
}

void sched_generated(Sched *s, Val v) {
  const Attr *dims = ir_attr(s->g, v, A_dims);
  Place to = sched_dest(s, v);
  if (ir_op(s->g, v) == OP_iota) {
    Nest *n = nest_begin(s, v);
    axes_of(n, to.size, to.rank);
    nest_index(n, 0);
    store_at(n, &to);
    return;
  }
  for (uint32_t i = 0; i < dims->n; i++) {
    Place one = to;
    if (to.rank && !place_shifted(s, &to, 0, sched_const(s, i), &one)) continue;
    one.rank = 0;
    Nest *n = nest_begin(s, v);
    nest_size(n, dims->dims[i]);
    store_at(n, &one);
  }
}

/* ---- reductions --------------------------------------------------------- */

static KReduce reduce_kind(const Graph *g, Val v) {
  switch ((int)ir_op(g, v)) {
  case OP_reduce_sum:
    return KR_SUM;
  case OP_reduce_mean:
    return KR_MEAN;
  case OP_reduce_max:
    return KR_MAX;
  case OP_reduce_min:
    return KR_MIN;
  case OP_reduce_prod:
    return KR_PROD;
  default:
    return ir_attr_int(g, v, A_last, 0) ? KR_ARGMAX_LAST : KR_ARGMAX;
  }
}

static uint32_t reduced_mask(const Graph *g, Val v) {
  const Attr *axes = ir_attr(g, v, A_axes);
  if (!axes) return 1u << ir_attr_int(g, v, A_axis, 0);
  uint32_t mask = 0;
  for (uint32_t i = 0; i < axes->n; i++) mask |= 1u << axes->ints[i];
  return mask;
}

void sched_reduce(Sched *s, Val v) {
  Val x = ir_in(s->g, v, 0);
  const Type *t = ir_type_of(s->g, x);
  uint32_t mask = reduced_mask(s->g, v);
  bool keep = ir_attr_int(s->g, v, A_keepdims, 0) != 0;
  Nest *n = nest_begin(s, v);
  Place to = sched_dest(s, v);
  AxisMap in, out;
  memset(&out, -1, sizeof out);
  uint32_t o = 0;
  for (uint32_t i = 0; i < t->rank; i++) {
    bool reduced = mask >> i & 1;
    if (!reduced) in.axis[i] = out.axis[o] = nest_axis(n, t->dim[i]);
    o += !reduced || keep;
  }
  for (uint32_t i = 0; i < t->rank; i++) {
    if (!(mask >> i & 1)) continue;
    in.axis[i] = nest_axis(n, t->dim[i]);
    n->n_reduce++;
  }
  n->reduce = n->n_reduce ? reduce_kind(s->g, v) : KR_NONE;
  nest_value(n, x, &in);
  NestAccess store = nest_access(n, &to, &out);
  nest_end(n, &store);
}

/* ---- contractions ------------------------------------------------------- */

/* Axes of a matmul operand: batch axes as the result's, then rows and cols;
** a vector has only the contracted one. */
static AxisMap matmul_axes(Nest *n, const Type *rt, uint32_t batch, const Type *t, int8_t outer,
                           int8_t inner) {
  AxisMap m = identity(), all = identity();
  if (t->rank == 1) {
    m.axis[0] = outer < 0 ? inner : outer;
    return m;
  }
  Type lead = *t, result = *rt;
  lead.rank = t->rank - 2;
  result.rank = batch;
  AxisMap b = nest_broadcast(n, &all, &result, &lead);
  memcpy(m.axis, b.axis, lead.rank);
  m.axis[lead.rank] = outer;
  m.axis[lead.rank + 1] = inner;
  return m;
}

void sched_matmul(Sched *s, Val v) {
  Val a = ir_in(s->g, v, 0), b = ir_in(s->g, v, 1);
  const Type *t = ir_type_of(s->g, v), *ta = ir_type_of(s->g, a), *tb = ir_type_of(s->g, b);
  Nest *n = nest_begin(s, v);
  Place to = sched_dest(s, v);
  axes_of(n, t->dim, t->rank);
  uint32_t tail = (ta->rank > 1) + (tb->rank > 1), batch = t->rank - tail;
  int8_t row = ta->rank > 1 ? (int8_t)batch : -1;
  int8_t col = tb->rank > 1 ? (int8_t)(t->rank - 1) : -1;
  int8_t k = nest_axis(n, ta->dim[ta->rank - 1]);
  n->n_reduce = 1;
  n->reduce = KR_SUM;
  AxisMap ma = matmul_axes(n, t, batch, ta, row, k), mb = matmul_axes(n, t, batch, tb, k, col);
  if (ta->rank == 1) ma.axis[0] = k;
  if (tb->rank == 1) mb.axis[0] = k;
  uint32_t ra = nest_value(n, a, &ma), rb = nest_value(n, b, &mb);
  nest_op(n, OP_mul, t->dtype, ra, rb, 0);
  AxisMap out = identity();
  NestAccess store = nest_access(n, &to, &out);
  nest_end(n, &store);
}

/* The operand of a convolution with its zeroes around it. */
static Place conv_padded(Sched *s, Val v) {
  Val x = ir_in(s->g, v, 0);
  const Type *xt = ir_type_of(s->g, x);
  const Attr *pads = ir_attr(s->g, v, A_pads);
  Place from = sched_source(s, x);
  uint32_t spatial = xt->rank - 2;
  bool none = true;
  for (uint32_t i = 0; pads && i < pads->n; i++) none = none && pads->ints[i] == 0;
  if (none) return from;
  Type t = *xt;
  for (uint32_t i = 0; i < spatial; i++)
    t.dim[2 + i] =
        dim_add(s->dims, t.dim[2 + i], sched_const(s, pads->ints[i] + pads->ints[spatial + i]));
  Place whole = place_contiguous(s, sched_temp(s, &t), &t), part = whole;
  Nest *n = nest_begin(s, v);
  axes_of(n, t.dim, t.rank);
  nest_literal(n, t.dtype, 0);
  store_at(n, &whole);
  for (uint32_t i = 0; i < spatial; i++) {
    Place moved;
    VL_CHECK(place_shifted(s, &part, 2 + i, sched_const(s, pads->ints[i]), &moved), "conv pad");
    part = moved;
  }
  memcpy(part.size, xt->dim, sizeof part.size);
  sched_copy(s, v, &from, &part);
  return whole;
}

static int64_t ints_at(const Graph *g, Val v, AttrKey k, uint32_t i) {
  const Attr *a = ir_attr(g, v, k);
  return a && i < a->n ? a->ints[i] : 1;
}

/* out[n, q, m, o…] = Σ over c, k… of x[n, q, c, o·stride + k·dilation] w[q, m, c, k…] */
void sched_conv(Sched *s, Val v) {
  const Type *t = ir_type_of(s->g, v), *wt = ir_type_of(s->g, ir_in(s->g, v, 1));
  uint32_t spatial = t->rank - 2;
  int64_t group = ir_attr_int(s->g, v, A_group, 1), filters = 0;
  if (!dim_is_const(s->dims, wt->dim[0], &filters) || 3 + 2 * spatial + 1 > VLPC_MAX_RANK) {
    sched_refuse(s, v, "only convolutions over one or two axes have a kernel");
    return;
  }
  Place x = conv_padded(s, v), w = sched_source(s, ir_in(s->g, v, 1)), to = sched_dest(s, v);
  bool has_bias = ir_n_in(s->g, v) > 2 && val_ok(ir_in(s->g, v, 2));
  Nest *n = nest_begin(s, v);
  DimId per = sched_const(s, filters / group);
  int8_t batch = nest_axis(n, t->dim[0]), q = nest_axis(n, sched_const(s, group)),
         m = nest_axis(n, per);
  int8_t o = (int8_t)n->rank;
  axes_of(n, t->dim + 2, spatial);
  int8_t c = (int8_t)n->rank;
  axes_of(n, wt->dim + 1, spatial + 1);
  n->n_reduce = spatial + 1;
  n->reduce = KR_SUM;
  AxisMap none;
  memset(&none, -1, sizeof none);
  NestAccess xa = nest_access(n, &x, &none), wa = nest_access(n, &w, &none),
             oa = nest_access(n, &to, &none);
  xa.stride[batch] = x.stride[0];
  xa.stride[q] = sched_mul(s, x.stride[1], wt->dim[1]);
  xa.stride[c] = x.stride[1];
  wa.stride[q] = sched_mul(s, w.stride[0], per);
  wa.stride[m] = w.stride[0];
  wa.stride[c] = w.stride[1];
  oa.stride[batch] = to.stride[0];
  oa.stride[q] = sched_mul(s, to.stride[1], per);
  oa.stride[m] = to.stride[1];
  for (uint32_t i = 0; i < spatial; i++) {
    xa.stride[o + (int)i] =
        sched_mul(s, x.stride[2 + i], sched_const(s, ints_at(s->g, v, A_strides, i)));
    xa.stride[c + 1 + (int)i] =
        sched_mul(s, x.stride[2 + i], sched_const(s, ints_at(s->g, v, A_dilations, i)));
    wa.stride[c + 1 + (int)i] = w.stride[2 + i];
    oa.stride[o + (int)i] = to.stride[2 + i];
  }
  uint32_t rx = nest_load(n, t->dtype, &xa), rw = nest_load(n, t->dtype, &wa);
  nest_op(n, OP_mul, t->dtype, rx, rw, 0);
  nest_end(n, &oa);
  if (!has_bias) return;
  Place b = sched_source(s, ir_in(s->g, v, 2));
  Nest *add = nest_begin(s, v);
  axes_of(add, t->dim, t->rank);
  AxisMap id = identity(), along = none;
  along.axis[0] = 1;
  NestAccess sum = nest_access(add, &to, &id), bias = nest_access(add, &b, &along);
  uint32_t r0 = nest_load(add, t->dtype, &sum), r1 = nest_load(add, t->dtype, &bias);
  nest_op(add, OP_add, t->dtype, r0, r1, 0);
  store_at(add, &to);
}

/* Rows [batch, patch row, patch column] of (channel, y, x) values. */
Place sched_patches(Sched *s, Val v) {
  Val x = ir_in(s->g, v, 0);
  const Type *xt = ir_type_of(s->g, x), *t = ir_type_of(s->g, v);
  const Attr *patch = ir_attr(s->g, v, A_patch);
  DimId ph = sched_const(s, patch->ints[0]), pw = sched_const(s, patch->ints[1]);
  DimTable *d = s->dims;
  Type rows = {.dtype = t->dtype, .rank = 3, .dim = {t->dim[0], t->dim[1], DIM_NONE}};
  rows.dim[2] = sched_mul(s, xt->dim[1], sched_mul(s, ph, pw));
  Place to = place_contiguous(s, sched_temp(s, &rows), &rows), from = sched_source(s, x);
  Nest *n = nest_begin(s, v);
  DimId ny = dim_div(d, xt->dim[2], ph), nx = dim_div(d, xt->dim[3], pw);
  const DimId size[6] = {xt->dim[0], ny, nx, xt->dim[1], ph, pw};
  axes_of(n, size, 6);
  NestAccess in = {.at = from}, out = {.at = to};
  const DimId in_stride[6] = {from.stride[0],
                              sched_mul(s, from.stride[2], ph),
                              sched_mul(s, from.stride[3], pw),
                              from.stride[1],
                              from.stride[2],
                              from.stride[3]};
  memcpy(in.stride, in_stride, sizeof in_stride);
  DimId stride = sched_const(s, 1);
  for (uint32_t i = 6; i-- > 0;) {
    out.stride[i] = stride;
    stride = sched_mul(s, stride, size[i]);
  }
  nest_load(n, t->dtype, &in);
  nest_end(n, &out);
  return to;
}

/* ---- by index ----------------------------------------------------------- */

static void add_indirect(NestAccess *x, uint32_t row, const Place *p, uint32_t axis) {
  x->ind[x->n_indirect].row = row;
  x->ind[x->n_indirect].stride = p->stride[axis];
  x->ind[x->n_indirect++].size = p->size[axis];
}

/* data[… axis …] by ids: result axes are data's before, ids', data's after. */
static void gather_axis(Sched *s, Val v, uint32_t axis) {
  Val data = ir_in(s->g, v, 0), ids = ir_in(s->g, v, 1);
  const Type *t = ir_type_of(s->g, v), *it = ir_type_of(s->g, ids);
  Place from = sched_source(s, data), to = sched_dest(s, v);
  Nest *n = nest_begin(s, v);
  axes_of(n, t->dim, t->rank);
  AxisMap mi, md;
  for (uint32_t i = 0; i < it->rank; i++) mi.axis[i] = (int8_t)(axis + i);
  for (uint32_t i = 0; i < from.rank; i++) {
    uint32_t at = i < axis ? i : i + it->rank - 1;
    md.axis[i] = i == axis ? -1 : (int8_t)at;
  }
  uint32_t row = nest_value(n, ids, &mi);
  NestAccess x = nest_access(n, &from, &md);
  add_indirect(&x, row, &from, axis);
  nest_load(n, t->dtype, &x);
  store_at(n, &to);
}

static void gather_elements(Sched *s, Val v) {
  const Type *t = ir_type_of(s->g, v);
  uint32_t axis = (uint32_t)ir_attr_int(s->g, v, A_axis, 0);
  Place from = sched_source(s, ir_in(s->g, v, 0)), to = sched_dest(s, v);
  Nest *n = nest_begin(s, v);
  axes_of(n, t->dim, t->rank);
  AxisMap m = identity(), md = identity();
  uint32_t row = nest_value(n, ir_in(s->g, v, 1), &m);
  md.axis[axis] = -1;
  NestAccess x = nest_access(n, &from, &md);
  add_indirect(&x, row, &from, axis);
  nest_load(n, t->dtype, &x);
  store_at(n, &to);
}

/* Rows that load the last axis of indices, one for each component. */
static bool index_rows(Nest *n, const Place *ids, VlDtype t, uint32_t count, uint32_t *row) {
  Sched *s = n->s;
  AxisMap m = identity();
  m.axis[ids->rank - 1] = -1;
  for (uint32_t i = 0; i < count; i++) {
    Place at;
    if (!place_shifted(s, ids, ids->rank - 1, sched_const(s, i), &at)) return false;
    NestAccess x = nest_access(n, &at, &m);
    row[i] = nest_load(n, t, &x);
  }
  return true;
}

static bool index_count(Sched *s, Val v, const Type *it, uint32_t *count) {
  int64_t k = 0;
  if (dim_is_const(s->dims, it->dim[it->rank - 1], &k) && k <= LOOPS_MAX_INDIRECT) {
    *count = (uint32_t)k;
    return true;
  }
  sched_refuse(s, v, "its indices have more than 4 components, or a run-time number");
  return false;
}

static void gather_nd(Sched *s, Val v) {
  const Type *t = ir_type_of(s->g, v), *it = ir_type_of(s->g, ir_in(s->g, v, 1));
  uint32_t batch = (uint32_t)ir_attr_int(s->g, v, A_batch_dims, 0), k = 0;
  if (!index_count(s, v, it, &k)) return;
  Place from = sched_source(s, ir_in(s->g, v, 0)), ids = sched_source(s, ir_in(s->g, v, 1));
  Place to = sched_dest(s, v);
  Nest *n = nest_begin(s, v);
  axes_of(n, t->dim, t->rank);
  uint32_t row[LOOPS_MAX_INDIRECT] = {0};
  if (!index_rows(n, &ids, it->dtype, k, row)) n->full = true;
  AxisMap md;
  for (uint32_t i = 0; i < from.rank; i++) {
    uint32_t at = i < batch ? i : i - batch - k + it->rank - 1;
    md.axis[i] = i >= batch && i < batch + k ? -1 : (int8_t)at;
  }
  NestAccess x = nest_access(n, &from, &md);
  for (uint32_t i = 0; i < k; i++) add_indirect(&x, row[i], &from, batch + i);
  nest_load(n, t->dtype, &x);
  store_at(n, &to);
}

void sched_gather(Sched *s, Val v) {
  OpCode op = ir_op(s->g, v);
  if (op == OP_gather_nd)
    gather_nd(s, v);
  else if (op == OP_gather_elements)
    gather_elements(s, v);
  else
    gather_axis(s, v, op == OP_embedding ? 0 : (uint32_t)ir_attr_int(s->g, v, A_axis, 0));
}

void sched_scatter_nd(Sched *s, Val v) {
  Val data = ir_in(s->g, v, 0), ids = ir_in(s->g, v, 1), updates = ir_in(s->g, v, 2);
  const Type *it = ir_type_of(s->g, ids), *ut = ir_type_of(s->g, updates);
  VlDtype dtype = ir_type_of(s->g, v)->dtype;
  uint32_t k = 0;
  if (!index_count(s, v, it, &k)) return;
  Place from = sched_source(s, data), to = sched_dest(s, v), at = sched_source(s, ids);
  sched_copy(s, v, &from, &to);
  Nest *n = nest_begin(s, v);
  n->serial = true;
  axes_of(n, ut->dim, ut->rank);
  uint32_t row[LOOPS_MAX_INDIRECT] = {0};
  if (!index_rows(n, &at, it->dtype, k, row)) n->full = true;
  AxisMap id = identity(), mo;
  for (uint32_t i = 0; i < to.rank; i++) mo.axis[i] = i < k ? -1 : (int8_t)(i - k + it->rank - 1);
  uint32_t up = nest_value(n, updates, &id);
  NestAccess store = nest_access(n, &to, &mo);
  for (uint32_t i = 0; i < k; i++) add_indirect(&store, row[i], &to, i);
  if (ir_op(s->g, v) == OP_scatter_add)
    nest_op(n, OP_add, dtype, nest_load(n, dtype, &store), up, 0);
  nest_end(n, &store);
}
