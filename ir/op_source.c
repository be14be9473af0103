/* SPDX-License-Identifier: Apache-2.0 */
/* op_source.c - the rules of ops without operands: input, const, dims, iota.
**
** The builder states the type of an input or const before the rule runs; the
** rule only checks it.  dims is an i64 vector unless the builder states a
** scalar or another integer type for the same sizes. */
#include "ir/ir_int.h"

static bool fail_type(Infer *x) {
  return infer_fail(x, "a source has no valid type", "no type", "an element type and sizes");
}

static bool has_type(const Infer *x) {
  return dtype_valid((int)x->out.dtype) && x->out.rank <= VLPC_MAX_RANK;
}

bool shape_input(Infer *x) {
  if (!has_type(x)) return fail_type(x);
  if (infer_attr(x, A_name)) return true;
  return infer_fail(x, "an input has no name", "no name", "the attribute name");
}

bool ref_none(RefCtx *c) {
  c->why = (Why){"an input has no value", "none", "a tensor"};
  return false;
}

/* Bytes of a type with constant sizes; false when symbolic or overflowing. */
static bool type_bytes(const Infer *x, uint64_t *out) {
  *out = dtype_size(x->out.dtype);
  for (uint32_t i = 0; i < x->out.rank; i++) {
    int64_t size;
    if (x->out.dim[i] == DIM_NONE || !dim_is_const(ir_dims(x->g), x->out.dim[i], &size))
      return false;
    if (size < 0 || !vl_mul_u64(*out, (uint64_t)size, out)) return false;
  }
  return true;
}

bool shape_const(Infer *x) {
  Arena *a = ir_arena(x->g);
  if (!has_type(x)) return fail_type(x);
  const Attr *blob = infer_attr(x, A_blob);
  if (!blob) return infer_fail(x, "a constant has no data", "no blob", "the attribute blob");
  const char *text = type_text(x->g, &x->out);
  uint64_t want, have = ir_blob_get(x->g, blob->blob)->bytes;
  if (!type_bytes(x, &want))
    return infer_fail(x, "a constant's sizes must be numbers", text, "constant sizes");
  if (want == have) return true;
  return infer_fail(x, "a constant's data do not fit its type",
                    arena_printf(a, "%llu bytes", (unsigned long long)have),
                    arena_printf(a, "%llu bytes for %s", (unsigned long long)want, text));
}

bool ref_const(RefCtx *c) {
  const Blob *b = ir_blob_get(c->g, ir_attr(c->g, c->v, A_blob)->blob);
  *c->out = ref_from_bytes(c->a, c->out->dtype, c->out->rank, c->out->size, b->data);
  return true;
}

bool shape_dims(Infer *x) {
  const Attr *d = infer_attr(x, A_dims);
  if (!d) return infer_fail(x, "an attribute is missing", "none", "dims");
  for (uint32_t i = 0; i < d->n; i++)
    if (d->dims[i] == DIM_NONE) return infer_fail(x, "a size is malformed", "?", "a size");
  bool stated = x->out.dtype != 0;
  if (!stated) x->out = (Type){VLPC_I64, 1, {dim_const(ir_dims(x->g), d->n)}};
  bool whole = dtype_valid((int)x->out.dtype) && !dtype_is_float(x->out.dtype);
  bool fits = x->out.rank == 0 ? d->n == 1 : x->out.rank == 1 && dim_is(x->g, x->out.dim[0], d->n);
  if (whole && fits) return true;
  return infer_fail(x, "sizes do not fit their stated type", type_text(x->g, &x->out),
                    arena_printf(ir_arena(x->g), "i64[%u]", d->n));
}

/* Elements are what arithmetic on sizes gave, so they may be negative. */
bool ref_dims(RefCtx *c) {
  const Attr *d = ir_attr(c->g, c->v, A_dims);
  for (uint32_t i = 0; i < d->n; i++)
    if (!ref_affine(c, d->dims[i], &c->out->i[i])) return false;
  return true;
}

bool shape_iota(Infer *x) {
  const Attr *d;
  if (!infer_list(x, A_dims, 1, &d)) return false;
  x->out = (Type){VLPC_I64, 1, {d->dims[0]}};
  return true;
}

bool ref_iota(RefCtx *c) {
  for (int64_t i = 0; i < c->out->count; i++) c->out->i[i] = i;
  return true;
}
