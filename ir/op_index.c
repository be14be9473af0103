/* SPDX-License-Identifier: Apache-2.0 */
/* op_index.c - ops by index: gathers, scatter, top-k.
**
** An index below zero counts from the end; outside is an error when it runs.
** scatter_nd writes in the order of its updates, so the last of equal indices
** stays.  top-k counts NaN as largest and takes the lower index of equals. */
#include <stdlib.h>

#include "ir/ir_int.h"

/* ---- shapes put together from parts -------------------------------------- */

/* Appends axes [from, to) of t; false when the rank passes its limit. */
static bool append(Infer *x, const Type *t, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++) {
    if (x->out.rank == VLPC_MAX_RANK)
      return infer_fail(x, "the result has too many axes", "rank over 8", "rank 8 at most");
    x->out.dim[x->out.rank++] = t->dim[i];
  }
  return true;
}

/* ---- gather -------------------------------------------------------------- */

bool shape_gather(Infer *x) {
  const Type *t = infer_type(x, 0), *ids = infer_type(x, 1);
  uint32_t axis;
  if (!infer_integer(x, 1) || !infer_axis(x, t->rank, &axis)) return false;
  x->out = (Type){.dtype = t->dtype};
  return append(x, t, 0, axis) && append(x, ids, 0, ids->rank) && append(x, t, axis + 1, t->rank);
}

static bool gather_rows(RefCtx *c, int64_t axis) {
  const RefTensor *t = &c->in[0], *ids = &c->in[1];
  Split s = ref_split(t, axis);
  int64_t at;
  for (int64_t k = 0; k < ids->count; k++) {
    if (!ref_index(c, ids->i[k], s.n, &at)) return false;
    for (int64_t o = 0; o < s.outer; o++)
      ref_copy(c->out, (o * ids->count + k) * s.inner, t, (o * s.n + at) * s.inner, s.inner);
  }
  return true;
}

bool ref_gather(RefCtx *c) { return gather_rows(c, ir_attr_int(c->g, c->v, A_axis, 0)); }

bool shape_embedding(Infer *x) {
  const Type *t = infer_type(x, 0), *ids = infer_type(x, 1);
  if (!infer_float(x, 0) || !infer_rank(x, 0, 2, 2) || !infer_integer(x, 1)) return false;
  x->out = (Type){.dtype = t->dtype};
  return append(x, ids, 0, ids->rank) && append(x, t, 1, 2);
}

bool ref_embedding(RefCtx *c) { return gather_rows(c, 0); }

/* ---- gather_elements ----------------------------------------------------- */

bool shape_gather_elements(Infer *x) {
  const Type *t = infer_type(x, 0), *ids = infer_type(x, 1);
  uint32_t axis;
  if (!infer_integer(x, 1) || !infer_axis(x, t->rank, &axis)) return false;
  if (!infer_rank(x, 1, t->rank, t->rank)) return false;
  for (uint32_t i = 0; i < t->rank; i++)
    if (i != axis && dim_below(x->g, t->dim[i], ids->dim[i]))
      return infer_misfit(x, "indices are larger than the data", 0, 1,
                          arena_printf(ir_arena(x->g), "at most equal but on axis %u", axis));
  x->out = *ids;
  x->out.dtype = t->dtype;
  return true;
}

bool ref_gather_elements(RefCtx *c) {
  const RefTensor *t = &c->in[0], *ids = &c->in[1];
  int64_t axis = ir_attr_int(c->g, c->v, A_axis, 0), stride[VLPC_MAX_RANK], at;
  ref_strides(t->rank, t->size, stride);
  int64_t step = stride[axis];
  stride[axis] = 0;
  for (int64_t i = 0; i < (int64_t)t->rank; i++)
    if (i != axis && ids->size[i] > t->size[i] && ids->count > 0)
      return ref_fail(c, "indices are larger than the data", ids->size[i], "the data's size");
  Walk w = walk_new(ids->rank, ids->size);
  walk_add_strides(&w, stride, 0);
  for (int64_t k = 0; k < w.count; k++, walk_next(&w)) {
    if (!ref_index(c, ids->i[k], t->size[axis], &at)) return false;
    ref_copy(c->out, k, t, w.off[0] + at * step, 1);
  }
  return true;
}

/* ---- gather_nd and scatter_nd -------------------------------------------- */

/* The last size of the indices: how many axes of data one index names. */
static bool index_width(Infer *x, uint32_t most, uint32_t *out) {
  const Type *ids = infer_type(x, 1);
  int64_t k;
  if (!infer_integer(x, 1) || !infer_rank(x, 1, 1, VLPC_MAX_RANK)) return false;
  bool known = dim_is_const(ir_dims(x->g), ids->dim[ids->rank - 1], &k);
  *out = known ? (uint32_t)k : 0;
  if (known && k >= 0 && k <= most) return true;
  return infer_fail(x, "an index names too many axes", type_text(x->g, ids),
                    arena_printf(ir_arena(x->g), "a last size of 0 to %u", most));
}

bool shape_gather_nd(Infer *x) {
  const Type *t = infer_type(x, 0), *ids = infer_type(x, 1);
  int64_t batch = 0;
  uint32_t k;
  int64_t most = (int64_t)VL_MIN(t->rank, ids->rank == 0 ? 0 : ids->rank - 1);
  if (infer_attr(x, A_batch_dims) && !infer_int(x, A_batch_dims, 0, most, &batch)) return false;
  if (!index_width(x, t->rank - (uint32_t)batch, &k)) return false;
  for (uint32_t i = 0; i < batch; i++)
    if (t->dim[i] != ids->dim[i])
      return infer_misfit(x, "batch axes differ", 0, 1, "equal leading sizes");
  x->out = (Type){.dtype = t->dtype};
  return append(x, ids, 0, ids->rank - 1) && append(x, t, (uint32_t)batch + k, t->rank);
}

bool shape_scatter_nd(Infer *x) {
  const Type *t = infer_type(x, 0), *ids = infer_type(x, 1), *up = infer_type(x, 2);
  uint32_t k;
  if (!infer_same_dtype(x, 0, 2) || !index_width(x, t->rank, &k)) return false;
  x->out = (Type){.dtype = t->dtype};
  if (!append(x, ids, 0, ids->rank - 1) || !append(x, t, k, t->rank)) return false;
  bool same = x->out.rank == up->rank;
  for (uint32_t i = 0; same && i < up->rank; i++) same = up->dim[i] == x->out.dim[i];
  if (!same)
    return infer_fail(x, "updates do not fit data and indices", type_text(x->g, up),
                      type_text(x->g, &x->out));
  x->out = *t;
  return true;
}

bool shape_scatter_add(Infer *x) { return infer_number(x, 0) && shape_scatter_nd(x); }

/* Tuple n of the indices as an element offset into axes [batch, batch + k) of
** the data; *inner gets the elements behind one tuple. */
static bool tuple_offset(RefCtx *c, int64_t n, int64_t batch, int64_t *out, int64_t *inner) {
  const RefTensor *t = &c->in[0], *ids = &c->in[1];
  int64_t k = ids->size[ids->rank - 1], at;
  *out = 0;
  *inner = 1;
  for (int64_t i = 0; i < k; i++) {
    if (!ref_index(c, ids->i[n * k + i], t->size[batch + i], &at)) return false;
    *out = *out * t->size[batch + i] + at;
  }
  for (int64_t i = batch + k; i < (int64_t)t->rank; i++) *inner *= t->size[i];
  *out *= *inner;
  return true;
}

static int64_t tuple_count(const RefTensor *ids) {
  int64_t n = 1;
  for (uint32_t i = 0; i + 1 < ids->rank; i++) n *= ids->size[i];
  return n;
}

bool ref_gather_nd(RefCtx *c) {
  const RefTensor *t = &c->in[0], *ids = &c->in[1];
  int64_t batch = ir_attr_int(c->g, c->v, A_batch_dims, 0), n = tuple_count(ids);
  int64_t batches = 1, each = 1, at, inner;
  for (int64_t i = 0; i < batch; i++) batches *= t->size[i];
  for (int64_t i = batch; i < (int64_t)t->rank; i++) each *= t->size[i];
  for (int64_t k = 0; k < n; k++) {
    if (!tuple_offset(c, k, batch, &at, &inner)) return false;
    ref_copy(c->out, k * inner, t, k / (n / batches) * each + at, inner);
  }
  return true;
}

bool ref_scatter_nd(RefCtx *c) {
  int64_t n = tuple_count(&c->in[1]), at, inner;
  ref_copy(c->out, 0, &c->in[0], 0, c->out->count);
  for (int64_t k = 0; k < n; k++) {
    if (!tuple_offset(c, k, 0, &at, &inner)) return false;
    ref_copy(c->out, at, &c->in[2], k * inner, inner);
  }
  return true;
}

bool ref_scatter_add(RefCtx *c) {
  int64_t n = tuple_count(&c->in[1]), at, inner;
  RefTensor *o = c->out;
  const RefTensor *up = &c->in[2];
  ref_copy(o, 0, &c->in[0], 0, o->count);
  for (int64_t k = 0; k < n; k++) {
    if (!tuple_offset(c, k, 0, &at, &inner)) return false;
    for (int64_t i = 0; i < inner; i++) {
      if (o->f) o->f[at + i] += up->f[k * inner + i];
      else o->i[at + i] = (int64_t)((uint64_t)o->i[at + i] + (uint64_t)up->i[k * inner + i]);
    }
  }
  return true;
}

/* ---- top-k --------------------------------------------------------------- */

bool shape_topk(Infer *x) {
  const Type *t = infer_type(x, 0);
  uint32_t axis;
  int64_t k, most = TYPE_MAX_COUNT;
  if (!infer_number(x, 0) || !infer_axis(x, t->rank, &axis) || !infer_flag(x, A_largest))
    return false;
  if (!dim_is_const(ir_dims(x->g), t->dim[axis], &most)) most = TYPE_MAX_COUNT;
  if (!infer_int(x, A_k, 0, most, &k)) return false;
  x->out = *t;
  x->out.dim[axis] = dim_const(ir_dims(x->g), k);
  if (x->op == OP_topk_indices) x->out.dtype = VLPC_I64;
  return true;
}

typedef struct {
  double f; /* one of the two is the value, the other 0 */
  int64_t i;
  int64_t at;
} Ranked;

static int compare_values(const Ranked *a, const Ranked *b) {
  if (a->f != a->f || b->f != b->f) return (a->f != a->f) - (b->f != b->f);
  if (a->f != b->f) return a->f < b->f ? -1 : 1;
  return (a->i > b->i) - (a->i < b->i);
}

static int by_least(const void *p, const void *q) {
  const Ranked *a = p, *b = q;
  int order = compare_values(a, b);
  return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static int by_greatest(const void *p, const void *q) {
  const Ranked *a = p, *b = q;
  int order = compare_values(b, a);
  return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static bool topk(RefCtx *c, bool indices) {
  const RefTensor *t = &c->in[0];
  int64_t axis = ir_attr_int(c->g, c->v, A_axis, 0);
  bool largest = ir_attr_int(c->g, c->v, A_largest, 1) != 0;
  Split s = ref_split(t, axis);
  int64_t k = c->out->size[axis];
  if (k > s.n) return ref_fail(c, "fewer elements than k", s.n, "k or more");
  Ranked *line = arena_array(c->a, Ranked, s.n);
  for (int64_t l = 0; l < s.outer * s.inner && k > 0; l++) {
    int64_t from = l / s.inner * s.n * s.inner + l % s.inner;
    int64_t to = l / s.inner * k * s.inner + l % s.inner;
    for (int64_t j = 0; j < s.n; j++) {
      int64_t at = from + j * s.inner;
      line[j] = (Ranked){t->f ? t->f[at] : 0, t->f ? 0 : t->i[at], j};
    }
    qsort(line, (size_t)s.n, sizeof *line, largest ? by_greatest : by_least);
    for (int64_t j = 0; j < k; j++) {
      if (indices) c->out->i[to + j * s.inner] = line[j].at;
      else ref_copy(c->out, to + j * s.inner, t, from + line[j].at * s.inner, 1);
    }
  }
  return true;
}

bool ref_topk_values(RefCtx *c) { return topk(c, false); }
bool ref_topk_indices(RefCtx *c) { return topk(c, true); }
