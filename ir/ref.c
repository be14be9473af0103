/* SPDX-License-Identifier: Apache-2.0 */
/* ref.c - what the reference kernels share: values as doubles or int64, walks
** over sizes, indices and failures.
**
** Clear before fast: this is the meaning that every backend is held to. */
#include "ir/ir_int.h"

/* ---- values -------------------------------------------------------------- */

RefTensor ref_tensor(Arena *a, VlDtype dtype, uint32_t rank, const int64_t *size) {
  RefTensor t = {.dtype = dtype, .rank = rank, .count = 1};
  bool ok = true;
  for (uint32_t i = 0; i < rank; i++) {
    t.size[i] = size[i];
    ok = ok && size[i] >= 0 && vl_mul_i64(t.count, size[i], &t.count);
  }
  /* An impossible count asks for all memory, which the arena refuses. */
  uint64_t n = ok ? (uint64_t)t.count : UINT64_MAX;
  if (dtype_is_float(dtype)) t.f = arena_array(a, double, n);
  else t.i = arena_array(a, int64_t, n);
  return t;
}

RefTensor ref_from_bytes(Arena *a, VlDtype dtype, uint32_t rank, const int64_t *size,
                         const void *data) {
  RefTensor t = ref_tensor(a, dtype, rank, size);
  for (int64_t i = 0; i < t.count; i++) {
    if (t.f) t.f[i] = dtype_load(dtype, data, i);
    else t.i[i] = dtype_load_i64(dtype, data, i);
  }
  return t;
}

void ref_to_bytes(const RefTensor *t, void *out) {
  for (int64_t i = 0; i < t->count; i++) {
    if (t->f) dtype_store(t->dtype, out, i, t->f[i]);
    else dtype_store_i64(t->dtype, out, i, t->i[i]);
  }
}

void ref_copy(RefTensor *dst, int64_t o, const RefTensor *src, int64_t i, int64_t n) {
  for (int64_t k = 0; k < n; k++) {
    if (dst->f) dst->f[o + k] = src->f[i + k];
    else dst->i[o + k] = src->i[i + k];
  }
}

/* ---- walks --------------------------------------------------------------- */

void ref_strides(uint32_t rank, const int64_t *size, int64_t *stride) {
  int64_t step = 1;
  for (uint32_t i = rank; i-- > 0;) {
    stride[i] = step;
    step *= size[i];
  }
}

Walk walk_new(uint32_t rank, const int64_t *size) {
  Walk w = {.rank = rank, .count = 1};
  for (uint32_t i = 0; i < rank; i++) {
    w.size[i] = size[i];
    w.count *= size[i];
  }
  return w;
}

void walk_add_strides(Walk *w, const int64_t *stride, int64_t start) {
  for (uint32_t i = 0; i < w->rank; i++) w->stride[w->n][i] = stride[i];
  w->off[w->n++] = start;
}

void walk_add(Walk *w, const RefTensor *t) {
  int64_t own[VLPC_MAX_RANK], stride[VLPC_MAX_RANK] = {0};
  uint32_t shift = w->rank - t->rank;
  ref_strides(t->rank, t->size, own);
  for (uint32_t i = 0; i < t->rank; i++) stride[shift + i] = t->size[i] == 1 ? 0 : own[i];
  walk_add_strides(w, stride, 0);
}

void walk_next(Walk *w) {
  for (uint32_t ax = w->rank; ax-- > 0;) {
    for (uint32_t k = 0; k < w->n; k++) w->off[k] += w->stride[k][ax];
    if (++w->at[ax] < w->size[ax]) return;
    for (uint32_t k = 0; k < w->n; k++) w->off[k] -= w->stride[k][ax] * w->size[ax];
    w->at[ax] = 0;
  }
}

Split ref_split(const RefTensor *t, int64_t axis) {
  Split s = {1, t->size[axis], 1};
  for (int64_t i = 0; i < axis; i++) s.outer *= t->size[i];
  for (int64_t i = axis + 1; i < (int64_t)t->rank; i++) s.inner *= t->size[i];
  return s;
}

/* ---- data errors --------------------------------------------------------- */

bool ref_given(const RefCtx *c, uint32_t i) { return i < c->n_in && c->in[i].dtype != 0; }

bool ref_fail(RefCtx *c, const char *sentence, int64_t found, const char *expected) {
  c->why = (Why){sentence, arena_printf(c->a, "%lld", (long long)found), expected};
  return false;
}

/* Every symbol of d has a value. */
static bool has_values(const RefCtx *c, DimId d) {
  Dim e = dim_get(ir_dims(c->g), d);
  for (uint32_t i = 0; i < e.n; i++)
    if (!c->sym || c->sym[e.term[i].sym] == SYM_UNKNOWN) return false;
  return true;
}

bool ref_affine(RefCtx *c, DimId d, int64_t *out) {
  if (has_values(c, d) && dim_eval(ir_dims(c->g), d, c->sym, out)) return true;
  c->why = (Why){"a size is not known", "a symbol without a value", "a number"};
  return false;
}

bool ref_size(RefCtx *c, DimId d, int64_t *out) {
  if (!ref_affine(c, d, out)) return false;
  return *out >= 0 || ref_fail(c, "a size is negative", *out, "0 or more");
}

bool ref_index(RefCtx *c, int64_t index, int64_t n, int64_t *out) {
  *out = index < 0 ? index + n : index;
  if (*out >= 0 && *out < n) return true;
  c->why = (Why){"an index is out of range", arena_printf(c->a, "%lld", (long long)index),
                 arena_printf(c->a, "%lld to %lld", -(long long)n, (long long)n - 1)};
  return false;
}

/* ---- the one product ----------------------------------------------------- */

void ref_gemm(double *o, const double *a, const double *b, const int64_t mkn[3]) {
  int64_t m = mkn[0], k = mkn[1], n = mkn[2];
  for (int64_t i = 0; i < m; i++)
    for (int64_t p = 0; p < k; p++) {
      double s = a[i * k + p];
      for (int64_t j = 0; j < n; j++) o[i * n + j] += s * b[p * n + j];
    }
}
