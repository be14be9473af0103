/* SPDX-License-Identifier: Apache-2.0 */
/* weights.c - evaluates constants and writes the weight section.
**
** A constant is an expression over initializers.  Nearly all are views of one
** (permuted, reshaped, sliced, cast from half) or a concat of views, and are
** read straight from the mapped model into the layout wanted, one at a time;
** the pages read are let go.  What else there is goes through the reference
** interpreter. */
#include "compiler/compiler.h"

#include <string.h>

/* A constant's elements inside a blob. */
typedef struct {
  const uint8_t *at;
  VlDtype from, to; /* as stored, and as the value's type says */
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK], stride[VLPC_MAX_RANK]; /* strides in elements */
  const Blob *blob;
} View;

static void sizes_of(const Graph *g, Val v, int64_t *size) {
  const Type *t = ir_type_of(g, v);
  for (uint32_t i = 0; i < t->rank; i++)
    VL_CHECK(dim_is_const(ir_dims(g), t->dim[i], &size[i]), "a constant has a run-time size");
}

static void row_major(View *w) {
  int64_t stride = 1;
  for (uint32_t i = w->rank; i-- > 0; stride *= w->size[i]) w->stride[i] = stride;
}

static bool is_row_major(const View *w) {
  int64_t stride = 1;
  for (uint32_t i = w->rank; i-- > 0; stride *= w->size[i]) {
    if (w->size[i] != 1 && w->stride[i] != stride) return false;
  }
  return true;
}

static bool view_const(const Graph *g, Val v, View *out) {
  const Type *t = ir_type_of(g, v);
  out->blob = ir_blob_get(g, ir_attr(g, v, A_blob)->blob);
  out->at = out->blob->data;
  out->from = out->to = t->dtype;
  out->rank = t->rank;
  sizes_of(g, v, out->size);
  row_major(out);
  return true;
}

static bool view_permute(const Graph *g, Val v, View *w) {
  const int64_t *perm = ir_attr(g, v, A_perm)->ints;
  View from = *w;
  for (uint32_t i = 0; i < w->rank; i++) {
    w->size[i] = from.size[perm[i]];
    w->stride[i] = from.stride[perm[i]];
  }
  return true;
}

static bool view_reshape(const Graph *g, Val v, View *w) {
  if (!is_row_major(w)) return false;
  w->rank = ir_type_of(g, v)->rank;
  sizes_of(g, v, w->size);
  row_major(w);
  return true;
}

static bool view_slice(const Graph *g, Val v, View *w) {
  const Attr *starts = ir_attr(g, v, A_starts), *steps = ir_attr(g, v, A_steps);
  for (uint32_t i = 0; i < w->rank; i++) {
    int64_t start = 0;
    if (!dim_is_const(ir_dims(g), starts->dims[i], &start)) return false;
    w->at += start * w->stride[i] * (int64_t)dtype_size(w->from);
    if (steps) w->stride[i] *= steps->ints[i];
  }
  sizes_of(g, v, w->size);
  return true;
}

static bool view_cast(const Graph *g, Val v, View *w) {
  VlDtype to = ir_type_of(g, v)->dtype;
  bool widens = to == VLPC_F32 && (w->from == VLPC_F16 || w->from == VLPC_BF16) && w->from == w->to;
  w->to = to;
  return widens;
}

static bool view_of(const Graph *g, Val v, View *out) {
  OpCode op = ir_op(g, v);
  if (op == OP_const) return view_const(g, v, out);
  bool moves = op == OP_permute || op == OP_reshape || op == OP_slice || op == OP_cast;
  if (!moves || !view_of(g, ir_in(g, v, 0), out)) return false;
  if (op == OP_permute) return view_permute(g, v, out);
  if (op == OP_reshape) return view_reshape(g, v, out);
  return op == OP_slice ? view_slice(g, v, out) : view_cast(g, v, out);
}

/* ---- into memory -------------------------------------------------------- */

/* Elements of one value inside a larger row-major f32 (or other) array. */
typedef struct {
  uint8_t *at;
  int64_t stride[VLPC_MAX_RANK];
} Target;

/* Halves to f32, which view_cast lets pass alone. */
static void widen_row(const View *w, const uint8_t *from, int64_t step, uint8_t *to,
                      int64_t to_step) {
  enum { BLOCK = 64 };
  uint16_t half[BLOCK];
  float wide[BLOCK];
  int64_t n = w->size[w->rank - 1];
  for (int64_t i = 0; i < n; i += BLOCK) {
    int64_t some = VL_MIN(n - i, BLOCK);
    for (int64_t k = 0; k < some; k++) memcpy(&half[k], from + (i + k) * step * 2, 2);
    dtype_to_f32(w->from, half, wide, some);
    for (int64_t k = 0; k < some; k++) memcpy(to + (i + k) * to_step * 4, &wide[k], 4);
  }
}

static void copy_row(const View *w, const uint8_t *from, int64_t step, uint8_t *to,
                     int64_t to_step) {
  int64_t n = w->size[w->rank - 1];
  size_t in = dtype_size(w->from);
  int64_t size = (int64_t)in;
  if (step == 1 && to_step == 1 && w->from == w->to)
    memcpy(to, from, (size_t)n * in);
  else if (step == 1 && to_step == 1)
    dtype_to_f32(w->from, from, (float *)(void *)to, n);
  else if (w->from == w->to && in == 4) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step * 4, from + i * step * 4, 4);
  } else if (w->from == w->to) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i * to_step * size, from + i * step * size, in);
  } else {
    widen_row(w, from, step, to, to_step);
  }
}

static void copy_axes(const View *w, const Target *t, uint32_t axis, const uint8_t *from,
                      uint8_t *to) {
  if (w->rank == 0 || axis + 1 == w->rank) {
    View one = *w;
    if (w->rank == 0) one.rank = 1, one.size[0] = 1;
    int64_t step = w->rank ? w->stride[axis] : 1, to_step = w->rank ? t->stride[axis] : 1;
    copy_row(&one, from, step, to, to_step);
    return;
  }
  for (int64_t i = 0; i < w->size[axis]; i++)
    copy_axes(w, t, axis + 1, from + i * w->stride[axis] * (int64_t)dtype_size(w->from),
              to + i * t->stride[axis] * (int64_t)dtype_size(w->to));
}

/* A two-dimensional transposed read goes through blocks, so that neither side
** walks memory with a large stride. */
static bool copy_transposed(const View *w, const Target *t) {
  if (w->rank != 2 || w->stride[0] != 1 || w->from != VLPC_F32 || w->to != VLPC_F32) return false;
  if (t->stride[1] != 1) return false;
  enum { BLOCK = 32 };
  const float *x = (const float *)(const void *)w->at;
  float *y = (float *)(void *)t->at;
  for (int64_t i = 0; i < w->size[0]; i += BLOCK) {
    for (int64_t j = 0; j < w->size[1]; j += BLOCK) {
      for (int64_t r = i; r < VL_MIN(i + BLOCK, w->size[0]); r++) {
        for (int64_t c = j; c < VL_MIN(j + BLOCK, w->size[1]); c++) {
          memcpy(&y[r * t->stride[0] + c], &x[r + c * w->stride[1]], sizeof(float));
        }
      }
    }
  }
  return true;
}

static VlStatus fill(const Compile *c, Val v, Target t);

/* Bytes that were read from a model's file leave the resident set. */
static void forget(const Compile *c, const void *at, uint64_t n) {
  for (uint32_t i = 0; i < c->n_models; i++)
    if (c->model[i]) fe_forget(c->model[i], at, n);
}

static VlStatus fill_concat(const Compile *c, Val v, Target t) {
  uint32_t axis = (uint32_t)ir_attr_int(c->graph, v, A_axis, 0);
  size_t elem = dtype_size(ir_type_of(c->graph, v)->dtype);
  for (uint32_t i = 0; i < ir_n_in(c->graph, v); i++) {
    Val x = ir_in(c->graph, v, i);
    int64_t size[VLPC_MAX_RANK];
    VL_TRY(fill(c, x, t));
    sizes_of(c->graph, x, size);
    t.at += size[axis] * t.stride[axis] * (int64_t)elem;
  }
  return VLPC_OK;
}

static VlStatus evaluate(const Compile *c, Val v, Arena *tmp, const Target *t) {
  RefTensor r;
  VL_TRY(ir_eval_const(c->graph, tmp, v, &r, c->d));
  View w = {.from = r.dtype, .to = r.dtype, .rank = r.rank};
  uint8_t *bytes = arena_array_bytes(tmp, (uint64_t)r.count, dtype_size(r.dtype));
  ref_to_bytes(&r, bytes);
  w.at = bytes;
  memcpy(w.size, r.size, sizeof w.size);
  row_major(&w);
  copy_axes(&w, t, 0, w.at, t->at);
  return VLPC_OK;
}

static VlStatus no_memory(const Compile *c) {
  return diag_error(c->d, DIAG_NOMEM, DIAG_NOWHERE, "no memory is left to evaluate a constant");
}

/* On an arena of its own, so that one constant's memory is not kept for the
** next. */
static VlStatus fill_evaluated(const Compile *c, Val v, Target t) {
  Arena *tmp = arena_new(0);
  if (!tmp) return no_memory(c);
  if (ARENA_GUARD(tmp)) {
    arena_free(tmp);
    return no_memory(c);
  }
  VlStatus status = evaluate(c, v, tmp, &t);
  arena_free(tmp);
  return status;
}

static VlStatus fill(const Compile *c, Val v, Target t) {
  View w;
  int64_t count = 0;
  if (ir_count_const(c->graph, v, &count) && count == 0) return VLPC_OK;
  if (ir_op(c->graph, v) == OP_concat) return fill_concat(c, v, t);
  if (!view_of(c->graph, v, &w)) return fill_evaluated(c, v, t);
  if (!copy_transposed(&w, &t)) copy_axes(&w, &t, 0, w.at, t.at);
  forget(c, w.blob->data, w.blob->bytes);
  return VLPC_OK;
}

/* ---- layouts ------------------------------------------------------------ */

static void pack_panels(const float *from, int64_t k, int64_t n, float *to) {
  for (int64_t p = 0; p < n; p += GEMM_PANEL) {
    int64_t cols = VL_MIN(GEMM_PANEL, n - p);
    for (int64_t r = 0; r < k; r++, to += GEMM_PANEL)
      memcpy(to, from + r * n + p, (size_t)cols * 4);
  }
}

/* Pairs of k side by side (kernel.h). */
static void pack_panels_bf16(const float *from, int64_t k, int64_t n, uint16_t *to) {
  for (int64_t p = 0; p < n; p += GEMM_PANEL) {
    int64_t cols = VL_MIN(GEMM_PANEL, n - p);
    for (int64_t r = 0; r < k; r++) {
      uint16_t *pair = to + (r / 2 * GEMM_PANEL) * 2 + r % 2;
      for (int64_t c = 0; c < cols; c++) pair[2 * c] = bf16_from_f32(from[r * n + p + c]);
    }
    to += (k + k % 2) * GEMM_PANEL;
  }
}

static void pack(ConstLayout layout, const void *from, const int64_t *size, void *to) {
  if (layout == CONST_PANELS_BF16)
    pack_panels_bf16(from, size[0], size[1], to);
  else
    pack_panels(from, size[0], size[1], to);
}

/* A whole value that lies in the model as it is wanted is streamed. */
static bool streams(const View *w) {
  return w->from == w->to && is_row_major(w);
}

static VlStatus write_streamed(const Compile *c, const View *w, uint64_t bytes,
                               ArtifactWriter *out) {
  const uint64_t chunk = UINT64_C(8) << 20;
  for (uint64_t at = 0; at < bytes; at += chunk) {
    uint64_t n = VL_MIN(chunk, bytes - at);
    VL_TRY(artifact_writer_add(out, w->at + at, n));
    forget(c, w->at + at, n);
  }
  return VLPC_OK;
}

/* Scratch of the largest constant, reused: [value][packed]. */
typedef struct {
  uint8_t *value, *packed;
} Scratch;

/* What the value takes before it is packed, room for padding included. */
static uint64_t value_bytes(const Compile *c, const SchedConst *k) {
  uint64_t packed = c->plan.program.bufs[k->buf].bytes;
  return k->layout == CONST_PANELS_BF16 ? 2 * packed : packed;
}

static Target whole(uint32_t rank, const int64_t *size, uint8_t *at) {
  Target to = {.at = at};
  int64_t stride = 1;
  for (uint32_t i = rank; i-- > 0; stride *= size[i]) to.stride[i] = stride;
  return to;
}

VlStatus weights_write_value(const Compile *c, Val v, uint64_t bytes, ArtifactWriter *w) {
  uint8_t *at = arena_array_bytes(c->a, bytes, 1);
  int64_t size[VLPC_MAX_RANK];
  sizes_of(c->graph, v, size);
  VL_TRY(fill(c, v, whole(ir_type_of(c->graph, v)->rank, size, at)));
  return artifact_writer_add(w, at, bytes);
}

static VlStatus write_const(const Compile *c, const SchedConst *k, Scratch *s, ArtifactWriter *w) {
  const ProgBuf *buf = &c->plan.program.bufs[k->buf];
  const Type *t = ir_type_of(c->graph, k->v);
  int64_t size[VLPC_MAX_RANK];
  View v;
  sizes_of(c->graph, k->v, size);
  VL_TRY(artifact_writer_pad(w, 64));
  VL_CHECK(artifact_writer_at(w) == buf->offset, "a constant moved");
  if (k->layout == CONST_PLAIN && view_of(c->graph, k->v, &v) && streams(&v))
    return write_streamed(c, &v, buf->bytes, w);
  memset(s->value, 0, value_bytes(c, k));
  VL_TRY(fill(c, k->v, whole(t->rank, size, s->value)));
  bool packs = k->layout == CONST_PANELS || k->layout == CONST_PANELS_BF16;
  if (!packs) return artifact_writer_add(w, s->value, buf->bytes);
  memset(s->packed, 0, buf->bytes);
  pack(k->layout, s->value, size, s->packed);
  return artifact_writer_add(w, s->packed, buf->bytes);
}

/* Bytes of scratch that constants need which are not streamed. */
static uint64_t scratch_bytes(const Compile *c) {
  uint64_t most = 64;
  View v;
  for (uint32_t i = 0; i < c->plan.n_consts; i++) {
    const SchedConst *k = &c->plan.consts[i];
    if (k->layout == CONST_PLAIN && view_of(c->graph, k->v, &v) && streams(&v)) continue;
    most = VL_MAX(most, value_bytes(c, k));
  }
  return most;
}

VlStatus weights_write(const Compile *c, ArtifactWriter *w) {
  uint64_t n = scratch_bytes(c);
  Scratch s = {arena_array_bytes(c->a, n, 1), arena_array_bytes(c->a, n, 1)};
  for (uint32_t i = 0; i < c->plan.n_consts; i++) {
    VL_TRY(write_const(c, &c->plan.consts[i], &s, w));
    if (c->o->progress && c->o->progress(c->o->progress_user, "write", i + 1, c->plan.n_consts))
      return diag_error(c->d, DIAG_CANCELLED, DIAG_NOWHERE, "the compilation was stopped");
  }
  VL_TRY(artifact_writer_pad(w, 64));
  return VLPC_OK;
}
