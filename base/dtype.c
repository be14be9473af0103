/* SPDX-License-Identifier: Apache-2.0 */
/* dtype.c - one row per element type, and conversions done on bits.
**
** Elements are read and written with memcpy, so arrays need no alignment: they
** may lie anywhere in a mapped file.  The half conversions use no rounding mode
** and no flush setting of the machine; NaNs keep the payload bits that fit. */
#include "base/dtype.h"

#include <math.h>
#include <string.h>

typedef enum { KIND_NONE, KIND_FLOAT, KIND_INT, KIND_BOOL } Kind;

typedef struct {
  const char *name;
  uint8_t size;
  uint8_t kind;
} DtypeRow;

static const DtypeRow dtype_rows[] = {
    [VLPC_F32] = {"f32", 4, KIND_FLOAT},   [VLPC_F16] = {"f16", 2, KIND_FLOAT},
    [VLPC_BF16] = {"bf16", 2, KIND_FLOAT}, [VLPC_F64] = {"f64", 8, KIND_FLOAT},
    [VLPC_I64] = {"i64", 8, KIND_INT},     [VLPC_I32] = {"i32", 4, KIND_INT},
    [VLPC_I8] = {"i8", 1, KIND_INT},       [VLPC_U8] = {"u8", 1, KIND_INT},
    [VLPC_BOOL] = {"bool", 1, KIND_BOOL},  [VLPC_I16] = {"i16", 2, KIND_INT},
    [VLPC_U16] = {"u16", 2, KIND_INT},     [VLPC_U32] = {"u32", 4, KIND_INT},
    [VLPC_U64] = {"u64", 8, KIND_INT},
};

bool dtype_valid(int d) {
  return d > 0 && (size_t)d < VL_COUNT(dtype_rows) && dtype_rows[d].kind != KIND_NONE;
}

static const DtypeRow *row(VlDtype d) {
  VL_CHECK(dtype_valid((int)d), "not an element type");
  return &dtype_rows[d];
}

size_t dtype_size(VlDtype d) {
  return row(d)->size;
}

const char *dtype_name(VlDtype d) {
  return row(d)->name;
}

bool dtype_is_float(VlDtype d) {
  return row(d)->kind == KIND_FLOAT;
}

bool dtype_is_int(VlDtype d) {
  return row(d)->kind == KIND_INT;
}

bool dtype_parse(const char *name, size_t n, VlDtype *out) {
  for (size_t d = 1; d < VL_COUNT(dtype_rows); d++) {
    const char *it = dtype_rows[d].name;
    if (it == NULL || strlen(it) != n || memcmp(it, name, n) != 0) continue;
    *out = (VlDtype)d;
    return true;
  }
  return false;
}

/* --- half and bfloat16 --- */

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static float float_of(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

float half_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;
  uint32_t exponent = rest & 0x0f800000u;
  rest += 112u << 23;
  if (exponent == 0x0f800000u) {
    rest += 112u << 23;
  } else if (exponent == 0) {
    /* Zero or subnormal: read the fraction under exponent 2^-14, take 2^-14 off. */
    rest = bits_of(float_of(rest + (1u << 23)) - 0x1p-14f);
  }
  return float_of(sign | rest);
}

/* m / 2^shift, to nearest, ties to even. */
static uint32_t shift_round(uint32_t m, uint32_t shift) {
  uint32_t q = m >> shift, rest = m & ((1u << shift) - 1), tie = 1u << (shift - 1);
  return q + (rest > tie || (rest == tie && (q & 1u) != 0));
}

uint16_t half_from_f32(float f) {
  uint32_t u = bits_of(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
  uint32_t h;
  if (a > 0x7f800000u) {
    uint32_t payload = a >> 13 & 0x3ffu;
    h = 0x7c00u | (payload != 0 ? payload : 0x200u);
  } else if (a >= 0x477ff000u) { /* 65520 and above round to infinity */
    h = 0x7c00u;
  } else if (a >= 0x38800000u) { /* 2^-14: normal halves; a carry moves the exponent */
    h = shift_round(a - (112u << 23), 13);
  } else if (a >= 0x33000000u) { /* 2^-25: subnormal halves, units of 2^-24 */
    h = shift_round((a & 0x7fffffu) | 0x800000u, 126u - (a >> 23));
  } else {
    h = 0;
  }
  return (uint16_t)(sign | h);
}

float bf16_to_f32(uint16_t h) {
  return float_of((uint32_t)h << 16);
}

uint16_t bf16_from_f32(float f) {
  uint32_t u = bits_of(f);
  if ((u & 0x7fffffffu) <= 0x7f800000u) return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
  return (uint16_t)(u >> 16 | ((u >> 16 & 0x7fu) != 0 ? 0 : 0x40u));
}

/* v cut to a float, the last bit set when anything was lost: rounding that to
** a still narrower type gives what rounding v itself would. */
static float sticky_f32(double v) {
  float f = (float)v;
  if (isnan(v) || (double)f == v) return f;
  uint32_t u = bits_of(f);
  if (fabs((double)f) > fabs(v)) u--;
  return float_of(u | 1u);
}

/* --- elements --- */

/* v towards zero, held to [lo, hi]; NaN gives 0.  hi is at most 2^63. */
static int64_t saturate(double v, int64_t lo, int64_t hi) {
  if (isnan(v)) return 0;
  if (v <= (double)lo) return lo;
  if (v >= (double)hi) return hi;
  return (int64_t)v;
}

static uint64_t saturate_u64(double v) {
  if (isnan(v) || v <= 0) return 0;
  return v >= 0x1p64 ? UINT64_MAX : (uint64_t)v;
}

#define LOAD(T, p, i)                                                                              \
  T v;                                                                                             \
  memcpy(&v, (const char *)(p) + (size_t)(i) * sizeof v, sizeof v)
#define STORE(T, p, i, value)                                                                      \
  do {                                                                                             \
    T v_ = (T)(value);                                                                             \
    memcpy((char *)(p) + (size_t)(i) * sizeof v_, &v_, sizeof v_);                                 \
  } while (0)

double dtype_load_any(VlDtype d, const void *p, int64_t i) {
  switch (d) {
  case VLPC_F32: {
    LOAD(float, p, i);
    return (double)v;
  }
  case VLPC_F16: {
    LOAD(uint16_t, p, i);
    return (double)half_to_f32(v);
  }
  case VLPC_BF16: {
    LOAD(uint16_t, p, i);
    return (double)bf16_to_f32(v);
  }
  case VLPC_F64: {
    LOAD(double, p, i);
    return v;
  }
  case VLPC_U64: {
    LOAD(uint64_t, p, i);
    return (double)v;
  }
  default:
    return (double)dtype_load_i64(d, p, i);
  }
}

void dtype_store(VlDtype d, void *p, int64_t i, double v) {
  switch (d) {
  case VLPC_F32:
    STORE(float, p, i, v);
    return;
  case VLPC_F16:
    STORE(uint16_t, p, i, half_from_f32(sticky_f32(v)));
    return;
  case VLPC_BF16:
    STORE(uint16_t, p, i, bf16_from_f32(sticky_f32(v)));
    return;
  case VLPC_F64:
    STORE(double, p, i, v);
    return;
  case VLPC_I64:
    STORE(int64_t, p, i, saturate(v, INT64_MIN, INT64_MAX));
    return;
  case VLPC_I32:
    STORE(int32_t, p, i, saturate(v, INT32_MIN, INT32_MAX));
    return;
  case VLPC_I16:
    STORE(int16_t, p, i, saturate(v, INT16_MIN, INT16_MAX));
    return;
  case VLPC_I8:
    STORE(int8_t, p, i, saturate(v, INT8_MIN, INT8_MAX));
    return;
  case VLPC_U8:
    STORE(uint8_t, p, i, saturate(v, 0, UINT8_MAX));
    return;
  case VLPC_U16:
    STORE(uint16_t, p, i, saturate(v, 0, UINT16_MAX));
    return;
  case VLPC_U32:
    STORE(uint32_t, p, i, saturate(v, 0, UINT32_MAX));
    return;
  case VLPC_U64:
    STORE(uint64_t, p, i, saturate_u64(v));
    return;
  case VLPC_BOOL:
    STORE(uint8_t, p, i, v != 0);
    return;
  }
  VL_UNREACHABLE("not an element type");
}

int64_t dtype_load_i64(VlDtype d, const void *p, int64_t i) {
  switch (d) {
  case VLPC_I64:
  case VLPC_U64: {
    LOAD(int64_t, p, i);
    return v;
  }
  case VLPC_I32: {
    LOAD(int32_t, p, i);
    return v;
  }
  case VLPC_I16: {
    LOAD(int16_t, p, i);
    return v;
  }
  case VLPC_I8: {
    LOAD(int8_t, p, i);
    return v;
  }
  case VLPC_U8: {
    LOAD(uint8_t, p, i);
    return v;
  }
  case VLPC_U16: {
    LOAD(uint16_t, p, i);
    return v;
  }
  case VLPC_U32: {
    LOAD(uint32_t, p, i);
    return v;
  }
  case VLPC_BOOL: {
    LOAD(uint8_t, p, i);
    return v != 0;
  }
  case VLPC_F32:
  case VLPC_F16:
  case VLPC_BF16:
  case VLPC_F64:
    return saturate(dtype_load(d, p, i), INT64_MIN, INT64_MAX);
  }
  VL_UNREACHABLE("not an element type");
}

void dtype_store_i64(VlDtype d, void *p, int64_t i, int64_t v) {
  switch (d) {
  case VLPC_I64:
  case VLPC_U64:
    STORE(int64_t, p, i, v);
    return;
  case VLPC_I32:
  case VLPC_U32:
    STORE(uint32_t, p, i, v);
    return;
  case VLPC_I16:
  case VLPC_U16:
    STORE(uint16_t, p, i, v);
    return;
  case VLPC_I8:
  case VLPC_U8:
    STORE(uint8_t, p, i, v);
    return;
  case VLPC_BOOL:
    STORE(uint8_t, p, i, v != 0);
    return;
  case VLPC_F32:
    STORE(float, p, i, v);
    return;
  case VLPC_F16:
  case VLPC_BF16:
  case VLPC_F64:
    dtype_store(d, p, i, (double)v);
    return;
  }
  VL_UNREACHABLE("not an element type");
}

void dtype_to_f32(VlDtype d, const void *src, float *dst, int64_t n) {
  VL_CHECK(dtype_valid((int)d), "not an element type");
  switch (d) {
  case VLPC_F32:
    if (n > 0) memcpy(dst, src, (size_t)n * sizeof *dst);
    return;
  case VLPC_F16:
    for (int64_t i = 0; i < n; i++) {
      LOAD(uint16_t, src, i);
      dst[i] = half_to_f32(v);
    }
    return;
  case VLPC_BF16:
    for (int64_t i = 0; i < n; i++) {
      LOAD(uint16_t, src, i);
      dst[i] = bf16_to_f32(v);
    }
    return;
  default:
    for (int64_t i = 0; i < n; i++) dst[i] = (float)dtype_load(d, src, i);
  }
}
