/* SPDX-License-Identifier: Apache-2.0 */
/* cl_scalar.c - values of the element types as text: memory, conversion, and the
** elementwise ops, whose expressions come from ops.def as they stand there. */
#include "backends/opencl/cl_text.h"

#include <math.h>
#include <string.h>

typedef struct {
  const char *type; /* in memory */
  const char *held; /* in a variable */
  const char *load, *store; /* functions of the prelude; NULL: plain */
} TypeText;

static const TypeText type_text[] = {
    [VLPC_F32] = {"float", "float", NULL, NULL},
    [VLPC_F16] = {"half", "float", "vl_load_half", "vl_store_half"},
    [VLPC_BF16] = {"ushort", "float", "vl_load_bf16", "vl_store_bf16"},
    [VLPC_F64] = {"double", "double", NULL, NULL},
    [VLPC_I64] = {"long", "long", NULL, NULL},
    [VLPC_I32] = {"int", "long", NULL, NULL},
    [VLPC_I8] = {"char", "long", NULL, NULL},
    [VLPC_U8] = {"uchar", "long", NULL, NULL},
    [VLPC_BOOL] = {"uchar", "int", NULL, NULL},
    [VLPC_I16] = {"short", "long", NULL, NULL},
    [VLPC_U16] = {"ushort", "long", NULL, NULL},
    [VLPC_U32] = {"uint", "long", NULL, NULL},
    [VLPC_U64] = {"ulong", "long", NULL, NULL},
};

const char *cl_type(VlDtype d) { return type_text[d].type; }
const char *cl_held(VlDtype d) { return type_text[d].held; }
const char *cl_wide(VlDtype d) { return d == VLPC_BF16 ? "vl_bf16_" : ""; }

static ClNumber number_of(VlDtype d) {
  if (d == VLPC_F64) return NUM_DOUBLE;
  return dtype_is_float(d) ? NUM_FLOAT : NUM_LONG;
}

void cl_load(Str *s, VlDtype d, const char *pointer, const char *index) {
  const TypeText *t = &type_text[d];
  if (t->load)
    str_printf(s, "%s(%s, %s)", t->load, pointer, index);
  else if (d == VLPC_BOOL)
    str_printf(s, "(%s[%s] != 0)", pointer, index);
  else
    str_printf(s, "(%s)%s[%s]", t->held, pointer, index);
}

void cl_store(Str *s, VlDtype d, const char *pointer, const char *index, const char *value) {
  const TypeText *t = &type_text[d];
  if (t->store)
    str_printf(s, "%s(%s, %s, %s);", t->store, value, pointer, index);
  else
    str_printf(s, "%s[%s] = (%s)(%s);", pointer, index, t->type, value);
}

void cl_convert(Str *s, VlDtype from, VlDtype to, const char *value) {
  bool from_float = dtype_is_float(from);
  if (to == VLPC_BOOL)
    str_printf(s, "((%s) != 0)", value);
  else if (to == VLPC_F16 || to == VLPC_BF16)
    str_printf(s, "vl_round_%s((float)(%s))", to == VLPC_F16 ? "half" : "bf16", value);
  else if (dtype_is_float(to))
    str_printf(s, "(%s)(%s)", cl_held(to), value);
  else if (from_float)
    str_printf(s, "((%s) != (%s) ? 0L : (long)convert_%s_sat(%s))", value, value, cl_type(to),
               value);
  else
    str_printf(s, "(long)(%s)(%s)", cl_type(to), value);
}

void cl_literal(Str *s, VlDtype d, double f, int64_t i) {
  if (!dtype_is_float(d)) {
    if (i == INT64_MIN)
      str_add(s, "(-9223372036854775807L - 1)");
    else
      str_printf(s, "(%lldL)", (long long)i);
    return;
  }
  const char *held = cl_held(d);
  if (isnan(f) || isinf(f)) {
    str_printf(s, "(%s)(%s)", held, isnan(f) ? "NAN" : f > 0 ? "INFINITY" : "-INFINITY");
    return;
  }
  str_printf(s, "(%a%s)", d == VLPC_F64 ? f : (double)(float)f, d == VLPC_F64 ? "" : "f");
}

/* ---- ops ----------------------------------------------------------------- */

static const char *const op_text[OP__COUNT] = {
#define OP(id, ...)
#define EW1(id, expr, grad, flags) [OP_##id] = #expr,
#define EW2(id, expr, grad, flags) [OP_##id] = #expr,
#include "ir/ops.def"
};

static const char *row_name(Str *s, uint32_t row) {
  Str name = {.arena = s->arena};
  str_printf(&name, "v%u", row);
  return str_text(&name);
}

static const char *call_text(ClText *t, Arena *a, const KBody *body, const KBody *row) {
  VlDtype from = body[row->a].dtype;
  uint32_t flags = op_info(row->op)->flags;
  ClNumber n = number_of(from);
  if (n == NUM_LONG && (flags & F_FLOAT_IN)) n = NUM_FLOAT;
  static const char *const letter[] = {[NUM_FLOAT] = "f", [NUM_LONG] = "i", [NUM_DOUBLE] = "d"};
  Str s = {.arena = a};
  t->used[row->op] |= (uint8_t)n;
  str_printf(&s, "%s_%s(v%u, v%u)", letter[n], op_info(row->op)->name, row->a,
             op_info(row->op)->min_in > 1 ? row->b : row->a);
  return str_text(&s);
}

void cl_op(ClText *t, Str *s, const KBody *body, const KBody *row) {
  VlDtype from = body[row->a].dtype;
  if (row->op == OP_cast) {
    cl_convert(s, from, row->dtype, row_name(s, row->a));
  } else if (row->op == OP_where) {
    str_printf(s, "v%u ? v%u : v%u", row->a, row->b, row->c);
  } else {
    bool gives_bool = op_info(row->op)->flags & F_BOOL_OUT;
    VlDtype made = gives_bool ? VLPC_BOOL : from == VLPC_BOOL ? VLPC_I64 : from;
    cl_convert(s, made, row->dtype, call_text(t, s->arena, body, row));
  }
}

/* ---- prelude ------------------------------------------------------------- */

static const char memory_text[] =
    "static float vl_load_half(global const half *p, long i) { return vload_half(i, p); }\n"
    "static void vl_store_half(float v, global half *p, long i) { vstore_half_rte(v, i, p); }\n"
    "static float vl_round_half(float v) {\n"
    "  ushort bits;\n"
    "  vstore_half_rte(v, 0, (private half *)&bits);\n"
    "  return vload_half(0, (private const half *)&bits);\n"
    "}\n"
    "static ushort vl_bf16_bits(float v) {\n"
    "  uint u = as_uint(v);\n"
    "  if (v != v) return (ushort)((u >> 16) | 0x40u);\n"
    "  return (ushort)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);\n"
    "}\n"
    "static float vl_round_bf16(float v) { return as_float((uint)vl_bf16_bits(v) << 16); }\n"
    "static float vl_load_bf16(global const ushort *p, long i) {\n"
    "  return as_float((uint)p[i] << 16);\n"
    "}\n"
    "static void vl_store_bf16(float v, global ushort *p, long i) { p[i] = vl_bf16_bits(v); }\n"
    "#define VL_BF16(n) \\\n"
    "static ushort##n vl_bf16_bits##n(float##n v) { \\\n"
    "  const uint##n u = as_uint##n(v), near = u + 0x7fffu + ((u >> 16) & 1u); \\\n"
    "  return convert_ushort##n(select(near >> 16, (u >> 16) | 0x40u, v != v)); \\\n"
    "} \\\n"
    "static float##n vl_bf16_floats##n(ushort##n v) { \\\n"
    "  return as_float##n(convert_uint##n(v) << 16); \\\n"
    "} \\\n"
    "static float##n vl_bf16_round##n(float##n v) { \\\n"
    "  return vl_bf16_floats##n(vl_bf16_bits##n(v)); \\\n"
    "} \\\n"
    "static float##n vl_bf16_vload##n(long i, global const ushort *p) { \\\n"
    "  return vl_bf16_floats##n(vload##n(i, p)); \\\n"
    "} \\\n"
    "static void vl_bf16_vstore##n(float##n v, long i, global ushort *p) { \\\n"
    "  vstore##n(vl_bf16_bits##n(v), i, p); \\\n"
    "}\n"
    "VL_BF16(4)\nVL_BF16(16)\n"
    "static float vl_sum2(float2 v) { return v.lo + v.hi; }\n"
    "static float vl_sum4(float4 v) { return vl_sum2(v.lo + v.hi); }\n"
    "static float vl_sum8(float8 v) { return vl_sum4(v.lo + v.hi); }\n"
    "static float vl_sum16(float16 v) { return vl_sum8(v.lo + v.hi); }\n"
    "static float vl_most2(float2 v) { return fmax(v.lo, v.hi); }\n"
    "static float vl_most4(float4 v) { return vl_most2(fmax(v.lo, v.hi)); }\n"
    "static float vl_most8(float8 v) { return vl_most4(fmax(v.lo, v.hi)); }\n"
    "static float vl_most16(float16 v) { return vl_most8(fmax(v.lo, v.hi)); }\n"
    "static void vl_fault(volatile global int *fault, int step) {\n"
    "  atomic_cmpxchg(fault, 0, step);\n"
    "}\n";

/* V_* over floating point; T is float or double. */
static const char float_words[] =
    "#define V_ABS(x) fabs(x)\n#define V_EXP(x) exp(x)\n#define V_LOG(x) log(x)\n"
    "#define V_SQRT(x) sqrt(x)\n#define V_ERF(x) erf(x)\n#define V_TANH(x) tanh(x)\n"
    "#define V_RELU(x) ((x) < 0 ? 0 : (x))\n#define V_FLOOR(x) floor(x)\n"
    "#define V_CEIL(x) ceil(x)\n#define V_ROUND(x) rint(x)\n#define V_DIV(x, y) ((x) / (y))\n"
    "#define V_MOD(x, y) vl_mod_T(x, y)\n#define V_FMOD(x, y) fmod(x, y)\n"
    "#define V_POW(x, y) pow(x, y)\n"
    "#define V_MIN(x, y) ((x) != (x) || (y) != (y) ? (x) + (y) : (x) < (y) ? (x) : (y))\n"
    "#define V_MAX(x, y) ((x) != (x) || (y) != (y) ? (x) + (y) : (x) > (y) ? (x) : (y))\n"
    "static T vl_mod_T(T a, T b) {\n"
    "  T r = fmod(a, b);\n"
    "  if (r == 0) return copysign((T)0, b);\n"
    "  return (r < 0) != (b < 0) ? r + b : r;\n"
    "}\n";

static const char long_words[] =
    "#define V_ABS(x) ((x) < 0 ? -(x) : (x))\n#define V_EXP(x) 0\n#define V_LOG(x) 0\n"
    "#define V_SQRT(x) 0\n#define V_ERF(x) 0\n#define V_TANH(x) 0\n"
    "#define V_RELU(x) ((x) < 0 ? 0 : (x))\n#define V_FLOOR(x) (x)\n#define V_CEIL(x) (x)\n"
    "#define V_ROUND(x) (x)\n#define V_DIV(x, y) vl_div(x, y)\n#define V_MOD(x, y) vl_mod(x, y)\n"
    "#define V_FMOD(x, y) vl_rem(x, y)\n#define V_POW(x, y) vl_pow(x, y)\n"
    "#define V_MIN(x, y) ((x) < (y) ? (x) : (y))\n#define V_MAX(x, y) ((x) > (y) ? (x) : (y))\n"
    "static long vl_div(long a, long b) {\n"
    "  return b == 0 ? 0 : b == -1 ? (long)(0UL - (ulong)a) : a / b;\n"
    "}\n"
    "static long vl_rem(long a, long b) { return b == 0 || b == -1 ? 0 : a % b; }\n"
    "static long vl_mod(long a, long b) {\n"
    "  long r = vl_rem(a, b);\n"
    "  return r != 0 && (r < 0) != (b < 0) ? r + b : r;\n"
    "}\n"
    "static long vl_pow(long a, long b) {\n"
    "  ulong base = (ulong)a, r = 1;\n"
    "  if (b < 0) return a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0;\n"
    "  for (ulong e = (ulong)b; e != 0; e >>= 1) {\n"
    "    if (e & 1) r *= base;\n"
    "    base *= base;\n"
    "  }\n"
    "  return (long)r;\n"
    "}\n";

static const char *const words[] = {"ABS", "EXP", "LOG", "SQRT", "ERF", "TANH", "RELU", "FLOOR",
                                    "CEIL", "ROUND", "DIV", "MOD", "FMOD", "POW", "MIN", "MAX"};

/* text with each T that stands alone, or after '_', replaced. */
static void add_typed(Str *s, const char *text, const char *type) {
  for (const char *p = text; *p; p++) {
    bool alone = *p == 'T' && !strchr("ABCDEFGHIJKLMNOPQRSUVWXYZ", p[1]) &&
                 (p == text || !strchr("ABCDEFGHIJKLMNOPQRSUVWXYZ", p[-1]));
    if (alone)
      str_add(s, type);
    else
      str_addn(s, p, 1);
  }
}

static void add_functions(const ClText *t, Str *s, ClNumber n) {
  const char *type = n == NUM_FLOAT ? "float" : n == NUM_DOUBLE ? "double" : "long";
  bool any = false;
  for (int op = 0; op < OP__COUNT; op++) any = any || (t->used[op] & n);
  if (!any) return;
  if (n == NUM_LONG)
    str_add(s, long_words);
  else
    add_typed(s, float_words, type);
  for (int op = 0; op < OP__COUNT; op++) {
    if (!(t->used[op] & n)) continue;
    bool gives_bool = op_info((OpCode)op)->flags & F_BOOL_OUT;
    str_printf(s, "static %s %c_%s(%s a, %s b) { return %s; }\n", gives_bool ? "int" : type,
               type[0] == 'l' ? 'i' : type[0], op_info((OpCode)op)->name, type, type, op_text[op]);
  }
  for (size_t i = 0; i < VL_COUNT(words); i++) str_printf(s, "#undef V_%s\n", words[i]);
}

void cl_prelude(const ClText *t, Str *s) {
  if (t->target->fp64) str_add(s, "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n");
  str_add(s, memory_text);
  add_functions(t, s, NUM_FLOAT);
  add_functions(t, s, NUM_LONG);
  if (t->target->fp64) add_functions(t, s, NUM_DOUBLE);
}
