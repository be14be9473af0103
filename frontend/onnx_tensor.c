/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_tensor.c - tensors of the file as constants of the graph.
**
** Large raw data are views of the mapped file, found through the segment that
** the scan wrote.  Data in typed fields (float_data …) are used where protobuf-c
** put them when they have the tensor's width, else converted to the arena. */
#include <inttypes.h>
#include <string.h>

#include "frontend/fe_int.h"

static const struct {
  int32_t onnx;
  VlDtype dtype; /* 0: known to ONNX, not to vlpc */
  const char *name;
} tensor_types[] = {
    {1, VLPC_F32, "float"},     {2, VLPC_U8, "uint8"},         {3, VLPC_I8, "int8"},
    {4, VLPC_U16, "uint16"},    {5, VLPC_I16, "int16"},        {6, VLPC_I32, "int32"},
    {7, VLPC_I64, "int64"},     {8, 0, "string"},              {9, VLPC_BOOL, "bool"},
    {10, VLPC_F16, "float16"},  {11, VLPC_F64, "double"},      {12, VLPC_U32, "uint32"},
    {13, VLPC_U64, "uint64"},   {14, 0, "complex64"},          {15, 0, "complex128"},
    {16, VLPC_BF16, "bfloat16"}, {17, 0, "float8e4m3fn"},      {18, 0, "float8e4m3fnuz"},
    {19, 0, "float8e5m2"},      {20, 0, "float8e5m2fnuz"},     {21, 0, "uint4"},
    {22, 0, "int4"},            {23, 0, "float4e2m1"},         {24, 0, "float8e8m0"},
    {25, 0, "uint2"},           {26, 0, "int2"},               {27, 0, "float6e2m3"},
    {28, 0, "float6e3m2"},
};

bool onnx_dtype(int32_t onnx, VlDtype *out) {
  for (size_t i = 0; i < VL_COUNT(tensor_types); i++) {
    if (tensor_types[i].onnx == onnx && tensor_types[i].dtype) {
      *out = tensor_types[i].dtype;
      return true;
    }
  }
  return false;
}

const char *onnx_dtype_name(int32_t onnx) {
  for (size_t i = 0; i < VL_COUNT(tensor_types); i++) {
    if (tensor_types[i].onnx == onnx) return tensor_types[i].name;
  }
  return "unknown";
}

int32_t onnx_dtype_code(VlDtype t) {
  for (size_t i = 0; i < VL_COUNT(tensor_types); i++) {
    if (tensor_types[i].dtype == t) return tensor_types[i].onnx;
  }
  return 0;
}

typedef struct {
  FeModel *m;
  const Onnx__TensorProto *t;
  DiagAt at;
  VlDtype dtype;
  uint64_t count, bytes;
} Reader;

static VlStatus bad_data(Reader *r, const char *what) {
  return diag_error(r->m->d, DIAG_ONNX_TENSOR, r->at, "%s", what);
}

static VlStatus read_type(Reader *r) {
  if (onnx_dtype(r->t->data_type, &r->dtype)) return VLPC_OK;
  if (r->t->data_type == 0) return bad_data(r, "the tensor has no element type");
  VlStatus st = diag_error(r->m->d, DIAG_ONNX_TENSOR_TYPE, r->at,
                           "the tensor's element type is not supported");
  diag_found(r->m->d, "%s (%" PRId32 ")", onnx_dtype_name(r->t->data_type), r->t->data_type);
  diag_expected(r->m->d, "float, float16, bfloat16, double, int8 … int64, uint8 … uint64 or bool");
  diag_fix(r->m->d, "export the model in float32 or float16");
  return st;
}

static VlStatus read_shape(Reader *r) {
  const Onnx__TensorProto *t = r->t;
  if (t->n_dims > VLPC_MAX_RANK) {
    VlStatus st = diag_error(r->m->d, DIAG_ONNX_TENSOR_TYPE, r->at, "the tensor has too many axes");
    diag_found(r->m->d, "%zu", t->n_dims);
    diag_expected(r->m->d, "at most %d", VLPC_MAX_RANK);
    return st;
  }
  uint64_t all = 1; /* with zeroes left out, so that a wrap is seen */
  r->count = 1;
  for (size_t i = 0; i < t->n_dims; i++) {
    if (t->dims[i] < 0) return bad_data(r, "the tensor has a negative size");
    uint64_t d = (uint64_t)t->dims[i];
    if (d && !vl_mul_u64(all, d, &all)) return bad_data(r, "the tensor's size overflows");
    if (!d) r->count = 0;
  }
  if (!vl_mul_u64(all, dtype_size(r->dtype), &r->bytes) || r->bytes > INT64_MAX) {
    return bad_data(r, "the tensor's size overflows");
  }
  if (r->count) r->count = all;
  if (!r->count) r->bytes = 0;
  return VLPC_OK;
}

static VlStatus wrong_length(Reader *r, uint64_t found, uint64_t expected, const char *unit) {
  VlStatus st = bad_data(r, "the tensor's data do not fit its shape");
  diag_found(r->m->d, "%" PRIu64 " %s", found, unit);
  diag_expected(r->m->d, "%" PRIu64, expected);
  return st;
}

static VlStatus read_raw(Reader *r, const void **out) {
  const Onnx__TensorProto *t = r->t;
  const uint8_t *at = t->raw_data.data;
  uint64_t n = t->raw_data.len;
  if (t->segment) {
    uint64_t begin = (uint64_t)t->segment->begin, end = (uint64_t)t->segment->end;
    VL_CHECK(begin <= end && end <= r->m->file.n, "the scan notes spans of the file");
    at = r->m->file.at + begin;
    n = end - begin;
  }
  if (n != r->bytes) return wrong_length(r, n, r->bytes, "bytes");
  *out = n ? at : (const void *)"";
  return VLPC_OK;
}

/* int32_data holds all narrow types, 16-bit floats as their bits. */
static const void *narrow_i32(Reader *r) {
  uint8_t *p = arena_alloc(r->m->a, r->bytes + 1);
  for (uint64_t i = 0; i < r->count; i++) {
    uint32_t v = (uint32_t)r->t->int32_data[i];
    if (dtype_size(r->dtype) == 2) {
      uint16_t h = (uint16_t)v;
      memcpy(p + 2 * i, &h, 2);
    } else {
      p[i] = (uint8_t)v;
    }
  }
  return p;
}

static const void *narrow_u64(Reader *r) {
  uint32_t *p = arena_array(r->m->a, uint32_t, r->count + 1);
  for (uint64_t i = 0; i < r->count; i++) p[i] = (uint32_t)r->t->uint64_data[i];
  return p;
}

static VlStatus read_typed(Reader *r, const void **out) {
  const Onnx__TensorProto *t = r->t;
  uint64_t n = 0;
  switch (r->dtype) {
  case VLPC_F32:
    n = t->n_float_data;
    *out = t->float_data;
    break;
  case VLPC_F64:
    n = t->n_double_data;
    *out = t->double_data;
    break;
  case VLPC_I64:
    n = t->n_int64_data;
    *out = t->int64_data;
    break;
  case VLPC_U32:
  case VLPC_U64:
    n = t->n_uint64_data;
    *out = t->uint64_data;
    break;
  default:
    n = t->n_int32_data;
    *out = t->int32_data;
    break;
  }
  if (n != r->count) return wrong_length(r, n, r->count, "elements");
  if (r->dtype == VLPC_U32) *out = narrow_u64(r);
  if (*out == t->int32_data && r->dtype != VLPC_I32) *out = narrow_i32(r);
  if (!n) *out = "";
  return VLPC_OK;
}

/* A bool is one byte, 0 or 1, whatever the file has. */
static const void *clean_bools(Reader *r, const void *data) {
  const uint8_t *p = data;
  bool is_clean = true;
  for (uint64_t i = 0; i < r->count; i++) is_clean = is_clean && p[i] <= 1;
  if (is_clean) return data;
  uint8_t *copy = arena_alloc(r->m->a, r->count);
  for (uint64_t i = 0; i < r->count; i++) copy[i] = p[i] != 0;
  return copy;
}

static VlStatus read_data(Reader *r, const void **out) {
  const Onnx__TensorProto *t = r->t;
  bool is_raw = t->has_raw_data || t->segment;
  int typed = (t->n_float_data > 0) + (t->n_int32_data > 0) + (t->n_int64_data > 0) +
              (t->n_double_data > 0) + (t->n_uint64_data > 0) + (t->n_string_data > 0);
  bool is_ext =
      t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
  if (is_raw + is_ext + typed > 1) return bad_data(r, "the tensor has data of more than one kind");
  if (is_ext) return ext_find(r->m, t, r->bytes, r->at, out);
  return is_raw ? read_raw(r, out) : read_typed(r, out);
}

VlStatus tensor_import(FeModel *m, Graph *g, const Onnx__TensorProto *t, DiagAt at, Val *out) {
  Reader r = {.m = m, .t = t, .at = at};
  const void *data = NULL;
  VL_TRY(read_type(&r));
  VL_TRY(read_shape(&r));
  VL_TRY(read_data(&r, &data));
  if (r.dtype == VLPC_BOOL) data = clean_bools(&r, data);
  TypeId type = ir_type_fixed(g, r.dtype, (uint32_t)t->n_dims, t->dims);
  *out = ir_const(g, type, ir_blob(g, data, r.bytes, t->name));
  return val_ok(*out) ? VLPC_OK : bad_data(&r, "the tensor is too large");
}
