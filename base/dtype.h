/* SPDX-License-Identifier: Apache-2.0 */
/* dtype.h - element types: sizes, names, and conversion to and from double.
** Half and bfloat16 round to nearest even, from doubles in one step; NaN stays
** NaN.  bool loads as 0 or 1 and stores whether the value is not zero.  Arrays
** need no alignment.  An element type that is none is a fault of the caller:
** check what a file says with dtype_valid. */
#ifndef VLPC_BASE_DTYPE_H
#define VLPC_BASE_DTYPE_H

#include <string.h>

#include "base/status.h"

typedef vlpc_dtype VlDtype;

bool dtype_valid(int d);
size_t dtype_size(VlDtype d);       /* bytes */
const char *dtype_name(VlDtype d);  /* "f32", "i64", "bool", … */
bool dtype_parse(const char *name, size_t n, VlDtype *out);
bool dtype_is_float(VlDtype d);
bool dtype_is_int(VlDtype d);       /* signed or not; bool is not */

float half_to_f32(uint16_t h);
uint16_t half_from_f32(float f);
float bf16_to_f32(uint16_t h);
uint16_t bf16_from_f32(float f);

/* Element i of an array of dtype d.  i64 values beyond 2^53 lose bits as
** doubles: use the _i64 forms for integers.
** dtype_store to an integer type cuts towards zero and holds the value to the
** type's range, NaN gives 0; so does dtype_load_i64 of a float.
** dtype_store_i64 to a narrower integer keeps the low bits; a u64 beyond 2^63
** passes through the _i64 forms as its bits. */
double dtype_load_any(VlDtype d, const void *p, int64_t i);
void dtype_store(VlDtype d, void *p, int64_t i, double v);
int64_t dtype_load_i64(VlDtype d, const void *p, int64_t i);
void dtype_store_i64(VlDtype d, void *p, int64_t i, int64_t v);
/* Nearly all elements are f32. */
static inline double dtype_load(VlDtype d, const void *p, int64_t i) {
  float v;
  if (d != VLPC_F32) return dtype_load_any(d, p, i);
  memcpy(&v, (const char *)p + (size_t)i * sizeof v, sizeof v);
  return (double)v;
}
/* n elements to f32, fast for f32, f16 and bf16. */
void dtype_to_f32(VlDtype d, const void *src, float *dst, int64_t n);

#endif
