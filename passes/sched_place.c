/* SPDX-License-Identifier: Apache-2.0 */
/* sched_place.c - where values lie: buffers, views of them, and row levels. */
#include "passes/sched_int.h"

#include <string.h>

DimId sched_const(Sched *s, int64_t c) {
  return dim_const(s->dims, c);
}

DimId sched_mul(Sched *s, DimId a, DimId b) {
  return a == DIM_NONE || b == DIM_NONE ? DIM_NONE : dim_mul(s->dims, a, b);
}

DimId sched_add(Sched *s, DimId a, DimId b) {
  return a == DIM_NONE || b == DIM_NONE ? DIM_NONE : dim_add(s->dims, a, b);
}

static bool is_one(Sched *s, DimId d) {
  int64_t c = 0;
  return dim_is_const(s->dims, d, &c) && c == 1;
}

static void row_major(Sched *s, Place *p) {
  DimId stride = sched_const(s, 1);
  for (uint32_t i = p->rank; i-- > 0;) {
    p->stride[i] = stride;
    stride = sched_mul(s, stride, p->size[i]);
  }
}

Place place_contiguous(Sched *s, uint32_t buf, const Type *t) {
  Place p = {.buf = buf, .off = sched_const(s, 0), .rank = t->rank};
  memcpy(p.size, t->dim, sizeof p.size);
  row_major(s, &p);
  return p;
}

bool place_is_contiguous(Sched *s, const Place *p) {
  Place want = *p;
  row_major(s, &want);
  for (uint32_t i = 0; i < p->rank; i++) {
    if (!is_one(s, p->size[i]) && (want.stride[i] == DIM_NONE || want.stride[i] != p->stride[i]))
      return false;
  }
  return true;
}

Place place_permuted(const Place *p, const int64_t *perm) {
  Place out = *p;
  for (uint32_t i = 0; i < p->rank; i++) {
    out.size[i] = p->size[perm[i]];
    out.stride[i] = p->stride[perm[i]];
  }
  return out;
}

bool place_shifted(Sched *s, const Place *p, uint32_t axis, DimId at, Place *out) {
  *out = *p;
  out->off = sched_add(s, p->off, sched_mul(s, at, p->stride[axis]));
  return out->off != DIM_NONE;
}

bool place_sliced(Sched *s, const Place *p, Val slice, Place *out) {
  const Attr *starts = ir_attr(s->g, slice, A_starts), *steps = ir_attr(s->g, slice, A_steps);
  const Type *t = ir_type_of(s->g, slice);
  *out = *p;
  for (uint32_t i = 0; i < p->rank; i++) {
    Place moved;
    if (!place_shifted(s, out, i, starts->dims[i], &moved)) return false;
    *out = moved;
    out->size[i] = t->dim[i];
    if (steps) out->stride[i] = sched_mul(s, p->stride[i], sched_const(s, steps->ints[i]));
    if (out->stride[i] == DIM_NONE) return false;
  }
  return true;
}

Place place_broadcast(Sched *s, const Place *p, const Type *to) {
  Place out = {.buf = p->buf, .off = p->off, .rank = to->rank};
  for (uint32_t i = 0; i < to->rank; i++) {
    out.size[i] = to->dim[i];
    uint32_t lead = to->rank - p->rank;
    bool spread = i < lead || (is_one(s, p->size[i - lead]) && !is_one(s, to->dim[i]));
    out.stride[i] = spread ? sched_const(s, 0) : p->stride[i - lead];
  }
  return out;
}

/* Axes [from, to) of a place. */
typedef struct {
  uint32_t from, to;
} Span;

/* One group of a reshape: the axes at of p and to of the result have the same
** number of elements, the former without gaps. */
static bool regroup(Sched *s, const Place *p, Span at, Place *out, Span to) {
  DimId outer = DIM_NONE, inner = sched_const(s, 1);
  for (uint32_t i = at.to; i-- > at.from;) {
    if (is_one(s, p->size[i])) continue;
    if (outer != DIM_NONE && outer != p->stride[i]) return false;
    if (outer == DIM_NONE) inner = p->stride[i];
    outer = sched_mul(s, p->stride[i], p->size[i]);
    if (outer == DIM_NONE) return false;
  }
  for (uint32_t j = to.to; j-- > to.from;) {
    out->stride[j] = inner;
    inner = sched_mul(s, inner, out->size[j]);
    if (inner == DIM_NONE && j > to.from) return false;
  }
  return true;
}

/* True when a is a proper multiple of b (so b must grow to meet it). */
static bool is_multiple(Sched *s, DimId a, DimId b) {
  int64_t ca = 0, cb = 0;
  if (dim_is_const(s->dims, a, &ca) && dim_is_const(s->dims, b, &cb)) return ca > cb;
  return dim_div(s->dims, a, b) != DIM_NONE;
}

bool place_reshaped(Sched *s, const Place *p, const Type *to, Place *out) {
  *out = (Place){.buf = p->buf, .off = p->off, .rank = to->rank};
  memcpy(out->size, to->dim, sizeof out->size);
  if (place_is_contiguous(s, p)) {
    row_major(s, out);
    return to->rank == 0 || out->stride[0] != DIM_NONE;
  }
  uint32_t i = 0, j = 0;
  while (i < p->rank || j < to->rank) {
    uint32_t i0 = i, j0 = j;
    DimId a = i < p->rank ? p->size[i++] : sched_const(s, 1);
    DimId b = j < to->rank ? to->dim[j++] : sched_const(s, 1);
    while (a != b) {
      if (is_multiple(s, a, b) && j < to->rank)
        b = sched_mul(s, b, to->dim[j++]);
      else if (i < p->rank)
        a = sched_mul(s, a, p->size[i++]);
      else
        return false;
      if (a == DIM_NONE || b == DIM_NONE) return false;
    }
    if (!regroup(s, p, (Span){i0, i}, out, (Span){j0, j})) return false;
  }
  return true;
}

/* ---- buffers ------------------------------------------------------------ */

static uint32_t add_buf(Sched *s, BufKind kind, const Type *t) {
  ProgBuf b = {.kind = kind, .dtype = t->dtype, .rank = t->rank, .first = UINT32_MAX};
  memcpy(b.size, t->dim, sizeof b.size);
  *vec_push(s->a, &s->bufs) = b;
  return s->bufs.n - 1;
}

VlDtype place_dtype(const Sched *s, const Place *p) {
  return s->bufs.at[p->buf].dtype;
}

uint32_t sched_temp(Sched *s, const Type *t) {
  return add_buf(s, BUF_TEMP, t);
}

Place sched_dest(Sched *s, Val v) {
  Info *in = &s->info[v.i];
  if (in->placed) return in->place;
  const Type *t = ir_type_of(s->g, v);
  if (in->output) {
    in->place = place_contiguous(s, s->ports.at[in->output - 1].buf, t);
  } else if (val_ok(in->concat)) {
    Place whole = sched_dest(s, in->concat);
    uint32_t axis = (uint32_t)ir_attr_int(s->g, in->concat, A_axis, 0);
    VL_CHECK(place_shifted(s, &whole, axis, in->concat_at, &in->place), "sched_fuse checked it");
    memcpy(in->place.size, t->dim, sizeof in->place.size);
  } else {
    Type held = *t;
    if (in->held == NUM_BF16) held.dtype = VLPC_BF16;
    in->place = place_contiguous(s, sched_temp(s, &held), &held);
  }
  in->placed = true;
  return in->place;
}

static VlDtype const_dtype(const Sched *s, Val v, ConstLayout layout) {
  return layout == CONST_PANELS_BF16 ? VLPC_BF16 : ir_type_of(s->g, v)->dtype;
}

static uint64_t const_bytes(const Sched *s, Val v, ConstLayout layout, DimId *padded) {
  int64_t count = 0, n = 0, k = 0;
  VL_CHECK(ir_count_const(s->g, v, &count), "a constant has a run-time size");
  if (layout != CONST_PLAIN) {
    VL_CHECK(ir_size_const(s->g, v, -1, &n) && n > 0, "a panel has no columns");
    k = count / n;
    if (layout == CONST_PANELS_BF16) k += k % 2;
    count = k * (int64_t)vl_align_up((uint64_t)n, GEMM_PANEL);
  }
  *padded = dim_const(s->dims, count);
  return (uint64_t)count * dtype_size(const_dtype(s, v, layout));
}

uint32_t sched_const_buf(Sched *s, Val v, ConstLayout layout) {
  uint64_t key = (uint64_t)v.i << 2 | layout;
  uint32_t buf = 0;
  if (map_get(s->const_bufs, key, &buf)) return buf;
  buf = add_buf(s, BUF_CONST, ir_type_of(s->g, v));
  ProgBuf *b = &s->bufs.at[buf];
  DimId padded = DIM_NONE;
  b->dtype = const_dtype(s, v, layout);
  b->bytes = const_bytes(s, v, layout, &padded);
  if (layout != CONST_PLAIN) b->rank = 1, b->size[0] = padded;
  b->offset = s->weight_bytes;
  s->weight_bytes = vl_align_up(s->weight_bytes + b->bytes, 64);
  map_set(s->const_bufs, key, buf);
  *vec_push(s->a, &s->consts) = (SchedConst){v, layout, buf};
  return buf;
}

/* Columns [*from, …) of *whole, which some gemm takes, at the start of a panel. */
static bool is_columns(Sched *s, Val v, Val *whole, int64_t *from) {
  const Attr *starts = ir_attr(s->g, v, A_starts), *steps = ir_attr(s->g, v, A_steps);
  if (ir_op(s->g, v) != OP_slice) return false;
  *whole = ir_in(s->g, v, 0);
  const Type *t = ir_type_of(s->g, v), *w = ir_type_of(s->g, *whole);
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i + 1 < t->rank && t->dim[i] != w->dim[i]) return false;
    if (steps && steps->ints[i] != 1) return false;
  }
  return s->is_weight[whole->i] && dim_is_const(s->dims, starts->dims[t->rank - 1], from) &&
         *from % GEMM_PANEL == 0;
}

Place sched_weight(Sched *s, Val v, ConstLayout layout) {
  Val whole = v;
  int64_t from = 0, k = 1;
  if (!is_columns(s, v, &whole, &from)) whole = v, from = 0;
  if (layout != CONST_PADDED) VL_CHECK(ir_size_const(s->g, whole, 0, &k), "linear weight");
  if (layout == CONST_PANELS_BF16) k += k % 2;
  return (Place){.buf = sched_const_buf(s, whole, layout), .off = sched_const(s, from * k)};
}

Place sched_source(Sched *s, Val v) {
  Info *in = &s->info[v.i];
  if (in->at_compile)
    return place_contiguous(s, sched_const_buf(s, v, CONST_PLAIN), ir_type_of(s->g, v));
  VL_CHECK(in->placed, "a value is read before it is computed");
  return in->place;
}

Place sched_copied(Sched *s, Val v, const Place *p, VlDtype dtype) {
  Type t = {.dtype = dtype, .rank = p->rank};
  memcpy(t.dim, p->size, sizeof t.dim);
  Place to = place_contiguous(s, sched_temp(s, &t), &t);
  sched_copy(s, v, p, &to);
  return to;
}

/* ---- row levels --------------------------------------------------------- */

static bool joins(Sched *s, const Place *p, uint32_t outer, uint32_t inner) {
  DimId want = sched_mul(s, p->stride[inner], p->size[inner]);
  return want != DIM_NONE && want == p->stride[outer];
}

/* Merges all places' axis i into axis i + 1 where every one allows it. */
static bool all_join(Sched *s, Place *p, uint32_t n, uint32_t i) {
  for (uint32_t k = 0; k < n; k++) {
    if (!joins(s, &p[k], i, i + 1)) return false;
  }
  return sched_mul(s, p[0].size[i], p[0].size[i + 1]) != DIM_NONE;
}

static void drop_axis(Place *p, uint32_t i) {
  for (uint32_t k = i; k + 1 < p->rank; k++) {
    p->size[k] = p->size[k + 1];
    p->stride[k] = p->stride[k + 1];
  }
  p->rank--;
}

bool places_rows(Sched *s, const Place *const *from, uint32_t n, Rows *out) {
  Place p[3];
  VL_CHECK(n <= 3, "too many places");
  for (uint32_t k = 0; k < n; k++) {
    p[k] = *from[k];
    uint32_t last = p[k].rank - 1;
    if (!is_one(s, p[k].stride[last]) && !is_one(s, p[k].size[last])) return false;
  }
  for (uint32_t i = p[0].rank - 1; i-- > 0;) {
    bool unit = is_one(s, p[0].size[i]);
    if (!unit && (i + 2 >= p[0].rank || !all_join(s, p, n, i))) continue;
    DimId merged = unit ? DIM_NONE : sched_mul(s, p[0].size[i], p[0].size[i + 1]);
    for (uint32_t k = 0; k < n; k++) {
      if (!unit) p[k].size[i + 1] = merged;
      drop_axis(&p[k], i);
    }
  }
  if (p[0].rank > 3) return false;
  uint32_t lead = p[0].rank - 1;
  *out = (Rows){.g = sched_const(s, 1), .m = sched_const(s, 1)};
  if (lead >= 1) out->m = p[0].size[lead - 1];
  if (lead == 2) out->g = p[0].size[0];
  for (uint32_t k = 0; k < n; k++) {
    out->m_stride[k] = lead >= 1 ? p[k].stride[lead - 1] : sched_const(s, 0);
    out->g_stride[k] = lead == 2 ? p[k].stride[0] : sched_const(s, 0);
  }
  return true;
}
