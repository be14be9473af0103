/* SPDX-License-Identifier: Apache-2.0 */
/* cl_attention.c - softmax(scale · q kᵀ + mask) v without the matrix of scores:
** KEYS keys at a time, with the running maximum, sum and result of each query.
**
**   processors   a work-item has 16 queries of a head as lanes; keys and values
**                are read where they lie, one number for all lanes
**   others       a work-item has one query; a group of QUERIES shares keys and
**                values through local memory
**   few, tensor  the scores of few queries in local memory: cl_attention_few.c; matrix
**                instructions: cl_attention_tensor.c
**   varlen       a work-item has one row of a run, with keys of its own
**
** Factors of bf16 become floats as they are read, columns of q and k in the order in
** which they are summed.
**
** A query sees its keys in ascending order whatever it is grouped with. */
#include "backends/opencl/cl_few.h"
#include "backends/opencl/cl_tensor.h"

#include <string.h>

typedef enum { BY_LANES, BY_GROUP, BY_ROW, BY_FEW, BY_TENSOR } Way;

static Way way_of(const ClTarget *t, const KAttention *a) {
  if (cl_attention_is_tensor(t, a)) return BY_TENSOR;
  if (cl_attention_is_few(t, a)) return BY_FEW;
  return a->varlen ? BY_ROW : t->class->cpu ? BY_LANES : BY_GROUP;
}

static uint32_t items_of(const ClClass *c, Way w) {
  const uint32_t items[] = {[BY_LANES] = 1,
                            [BY_GROUP] = c->queries,
                            [BY_ROW] = 32,
                            [BY_FEW] = CL_FEW_ITEMS,
                            [BY_TENSOR] = CL_TENSOR_ITEMS};
  return items[w];
}

/* Of a group. */
static uint64_t queries_of(const ClClass *c, Way w, uint64_t all) {
  if (w == BY_FEW) return VL_MAX(all, 1);
  return w == BY_TENSOR ? CL_TENSOR_QUERIES : w == BY_ROW ? 32 : c->queries;
}

static void attention_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  const KAttention *a = &k->attention;
  Way w = way_of(t, a);
  uint64_t lq = (uint64_t)cl_value(a->lq, sizes), each = queries_of(t->class, w, lq);
  uint64_t groups = cl_div_up(lq, each);
  uint64_t batch = w == BY_ROW ? 1 : (uint64_t)cl_value(a->batch, sizes);
  if (w == BY_ROW && groups == 0) groups = 1; /* the bounds are looked at all the same */
  g->local[0] = items_of(t->class, w);
  g->global[0] = groups * batch == 0 ? 0 : groups * g->local[0];
  g->global[1] = batch * (uint64_t)a->heads;
}

/* Keys at a time: as many as have room in local memory, a power of 2. */
static uint32_t keys_of(const ClClass *c, const KAttention *a, Way w) {
  if (w == BY_TENSOR) return CL_TENSOR_KEYS;
  if (w != BY_GROUP) return c->keys;
  int64_t floats = (a->d + 3) / 4 * 4 + (a->dv + 3) / 4 * 4;
  uint32_t keys = c->keys;
  while (keys > 1 && keys * floats * (int64_t)sizeof(float) > CL_LOCAL_BYTES) keys /= 2;
  return keys;
}

/* ---- head ---------------------------------------------------------------- */

static void strides(Str *s, const KAttention *a) {
  const struct {
    const char *name;
    KSize at;
  } all[] = {{"q_b", a->q_b}, {"q_r", a->q_r}, {"o_b", a->o_b}, {"o_r", a->o_r}};
  for (size_t i = 0; i < VL_COUNT(all); i++) cl_const(s, all[i].name, all[i].at);
}

static void numbered(Str *s, const char *name, uint32_t i, KSize x) {
  Str text = {.arena = s->arena};
  str_printf(&text, "%s%u", name, i);
  cl_const(s, str_text(&text), x);
}

/* Segment i is keys end<i-1> … end<i>-1. */
static void segments(Str *s, const KAttention *a) {
  for (uint32_t i = 0; i < a->n_segments; i++) {
    const KSegment *g = &a->segment[i];
    numbered(s, "n", i, g->n);
    numbered(s, "k_b", i, g->k_b);
    numbered(s, "k_r", i, g->k_r);
    numbered(s, "v_b", i, g->v_b);
    numbered(s, "v_r", i, g->v_r);
    if (i == 0)
      str_add(s, "  const long end0 = n0;\n");
    else
      str_printf(s, "  const long end%u = end%u + n%u;\n", i, i - 1, i);
  }
  str_printf(s, "  const long lk = end%u;\n", a->n_segments - 1);
}

void cl_attention_locate(Str *s, const KAttention *a) {
  const char *type = cl_type(knum_dtype(a->in));
  str_printf(s, "global const %s *kr = x2 + b * k_b0 + n * k_r0;\n"
                "global const %s *vr = x3 + b * v_b0 + n * v_r0;\n", type, type);
  for (uint32_t i = 1; i < a->n_segments; i++)
    str_printf(s,
               "if (n >= end%u) {\n"
               "  kr = x%u + b * k_b%u + (n - end%u) * k_r%u;\n"
               "  vr = x%u + b * v_b%u + (n - end%u) * v_r%u;\n}\n",
               i - 1, 2 + 2 * i, i, i - 1, i, 3 + 2 * i, i, i - 1, i);
}

static void head(Str *s, const KAttention *a, const ClClass *c, Way w) {
  str_printf(s, "  enum { HEADS = %lld, D = %lld, DV = %lld, KEYS = %u, LANES = %d, ITEMS = %u, "
                "CAUSAL = %d };\n",
             (long long)a->heads, (long long)a->d, (long long)a->dv,
             keys_of(c, a, w),
             w == BY_LANES ? 16 : 1, items_of(c, w), a->causal);
  const char *lanes = w == BY_LANES ? "16" : "";
  str_printf(s, "#define V float%s\n#define VI int%s\n", lanes, lanes);
  cl_factors(s, a->in);
  str_printf(s, "#define T_IN %s\n#define OUT(i, v) ",
             cl_type(knum_dtype(a->in)));
  cl_store(s, knum_dtype(a->out), "x0", "i", "v");
  str_printf(s, "\n#define FACTOR(x) %s(x)\n",
             a->in == NUM_F32 ? "" : w == BY_LANES ? "vl_bf16_round16" : "vl_round_bf16");
  strides(s, a);
  cl_const(s, "lq", a->lq);
  segments(s, a);
  str_add(s, "  const long h = get_global_id(1) % HEADS, b = get_global_id(1) / HEADS;\n");
}

static const char lanes_place[] =
    "  const long q0 = get_global_id(0) * LANES;\n"
    "  const long seen_all = CAUSAL ? min(q0 + 1, lk) : lk;\n"
    "  const long last = CAUSAL ? min(q0 + LANES, lk) : lk;\n"
    "  const VI count = (VI)(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16) + (int)q0;\n"
    "  const VI seen = CAUSAL ? min(count, (VI)(int)lk) : (VI)(int)lk;\n"
    "  V q[D], acc[DV];\n"
    "  for (int lane = 0; lane < LANES; lane++) {\n"
    "    global const T_IN *from = x1 + b * q_b + min(q0 + lane, lq - 1) * q_r + h * D;\n"
    "    for (int e = 0; e < D; e++) ((private float *)&q[e])[lane] = IN(from, ORDER(e));\n"
    "  }\n";

static const char group_place[] =
    "  const uint item = get_local_id(0);\n"
    "  const long group = (long)get_group_id(0) * ITEMS, mine = group + item;\n"
    "  const long q0 = min(mine, lq - 1);\n"
    "  const long seen_all = CAUSAL ? min(q0 + 1, lk) : lk;\n"
    "  const long last = CAUSAL ? min(group + ITEMS, lk) : lk;\n"
    "  const VI seen = (int)seen_all;\n"
    "  local float k_tile[KEYS][(D + 3) / 4 * 4] __attribute__((aligned(16)));\n"
    "  local float v_tile[KEYS][(DV + 3) / 4 * 4] __attribute__((aligned(16)));\n"
    "  float q[D], acc[DV];\n"
    "#pragma unroll\n"
    "  for (int e = 0; e < D; e++) q[e] = IN(x1, b * q_b + q0 * q_r + h * D + ORDER(e));\n";

/* Every row looks at all bounds: runs are few, and a fault must show. */
static const char row_place[] =
    "  const long q0 = get_global_id(0);\n"
    "  bool sound = RUNS > 0 && extra[0] == 0 && extra[RUNS] == lq;\n"
    "  long from = 0, prefix = 0;\n"
    "  for (long r = 0; sound && r < RUNS; r++) {\n"
    "    sound = extra[r] <= extra[r + 1];\n"
    "    if (q0 >= extra[r] && q0 < extra[r + 1]) {\n"
    "      from = extra[r];\n"
    "      prefix = r ? extra[1] : 0;\n"
    "    }\n"
    "  }\n"
    "  if (!sound) vl_fault(fault, step);\n"
    "  if (!sound || q0 >= lq) return;\n"
    "  const long last = prefix + q0 - from + 1, seen_all = last;\n"
    "  const VI seen = (int)last;\n"
    "  float q[D], acc[DV];\n"
    "#pragma unroll\n"
    "  for (int e = 0; e < D; e++) q[e] = IN(x1, q0 * q_r + h * D + ORDER(e));\n";

static const char *const place[] = {
    [BY_LANES] = lanes_place, [BY_GROUP] = group_place, [BY_ROW] = row_place};

/* ---- keys ---------------------------------------------------------------- */

/* Where key and value j0 + j lie: rows beyond the last stand for it.  '@' is
** cl_attention_locate's text. */
static const char *const point[] = {
    [BY_LANES] = "    global const T_IN *kp[KEYS], *vp[KEYS];\n"
                 "#pragma unroll\n"
                 "    for (int j = 0; j < KEYS; j++) {\n"
                 "      const long n = min(j0 + j, last - 1);\n@"
                 "      kp[j] = kr + h * D;\n"
                 "      vp[j] = vr + h * DV;\n"
                 "    }\n",
    [BY_GROUP] = "    barrier(CLK_LOCAL_MEM_FENCE);\n"
                 "    for (uint i = item; i < KEYS * D; i += ITEMS) {\n"
                 "      const long n = min(j0 + i / D, last - 1);\n@"
                 "      k_tile[i / D][ORDER(i % D)] = IN(kr, h * D + i % D);\n"
                 "    }\n"
                 "    for (uint i = item; i < KEYS * DV; i += ITEMS) {\n"
                 "      const long n = min(j0 + i / DV, last - 1);\n@"
                 "      v_tile[i / DV][i % DV] = IN(vr, h * DV + i % DV);\n"
                 "    }\n"
                 "    barrier(CLK_LOCAL_MEM_FENCE);\n",
    [BY_ROW] = "    global const T_IN *kp[KEYS], *vp[KEYS];\n"
               "#pragma unroll\n"
               "    for (int j = 0; j < KEYS; j++) {\n"
               "      const long n = min(j0 + j, last - 1);\n"
               "      const long row = n < prefix ? n : from + n - prefix;\n"
               "      kp[j] = x2 + row * k_r0 + h * D;\n"
               "      vp[j] = x3 + row * v_r0 + h * DV;\n"
               "    }\n",
};

static const char scores_single[] =
    "#pragma unroll\n"
    "    for (int e = 0; e < D; e++) {\n"
    "#pragma unroll\n"
    "      for (int j = 0; j < KEYS; j++) s[j] = fma(q[e], (V)AT_K(j, e), s[j]);\n"
    "    }\n";
static const char scores_four[] =
    "#pragma unroll\n"
    "    for (int e = 0; e < D; e += 4) {\n"
    "#pragma unroll\n"
    "      for (int j = 0; j < KEYS; j++) {\n"
    "        const float4 k = *(local const float4 *)&k_tile[j][e];\n"
    "        s[j] = fma(q[e], k.x, s[j]);\n"
    "        s[j] = fma(q[e + 1], k.y, s[j]);\n"
    "        s[j] = fma(q[e + 2], k.z, s[j]);\n"
    "        s[j] = fma(q[e + 3], k.w, s[j]);\n"
    "      }\n"
    "    }\n";

static const char masked[] =
    "#pragma unroll\n"
    "    for (int j = 0; j < KEYS; j++) {\n"
    "      const long row = b * m0 + h * m1 + min(j0 + j, last - 1) * m3;\n"
    "      V add;\n"
    "      for (int lane = 0; lane < LANES; lane++)\n"
    "        ((private float *)&add)[lane] = extra[row + min(q0 + lane, lq - 1) * m2];\n"
    "      s[j] += add;\n"
    "    }\n";

/* The greatest so far, NaN above all; what was summed is scaled to it. */
static const char rescale[] =
    "    V top = most;\n"
    "#pragma unroll\n"
    "    for (int j = 0; j < KEYS; j++) top = select(top, s[j], (s[j] > top) | (s[j] != s[j]));\n"
    "    const V factor = select(exp(most - top), (V)1.0f, most == top);\n"
    "    most = top;\n"
    "    sum *= factor;\n"
    "#pragma unroll\n"
    "    for (int j = 0; j < KEYS; j++) {\n"
    "      s[j] = select(exp(s[j] - top), (V)0.0f, top == (V)(-INFINITY));\n"
    "      sum += select((V)0.0f, s[j], seen > (VI)(int)(j0 + j));\n"
    "      s[j] = FACTOR(s[j]);\n"
    "    }\n";

static const char values_single[] =
    "#pragma unroll\n"
    "      for (int e = 0; e < DV; e++) {\n"
    "        V a = acc[e] * factor;\n"
    "#pragma unroll\n"
    "        for (int j = 0; j < KEYS; j++) a = fma(s[NEXT(j)], (V)AT_V(NEXT(j), e), a);\n"
    "        acc[e] = a;\n"
    "      }\n";
static const char values_four[] =
    "#pragma unroll\n"
    "      for (int e = 0; e < DV; e += 4) {\n"
    "        float4 a = (float4)(acc[e], acc[e + 1], acc[e + 2], acc[e + 3]) * factor;\n"
    "#pragma unroll\n"
    "        for (int j = 0; j < KEYS; j++)\n"
    "          a = fma((float4)s[NEXT(j)], *(local const float4 *)&v_tile[NEXT(j)][e], a);\n"
    "        acc[e] = a.x;\n"
    "        acc[e + 1] = a.y;\n"
    "        acc[e + 2] = a.z;\n"
    "        acc[e + 3] = a.w;\n"
    "      }\n";
/* Keys that a query does not see leave no trace, were they NaN. */
static const char values_some[] =
    "#pragma unroll\n"
    "      for (int e = 0; e < DV; e++) {\n"
    "        V a = acc[e] * factor;\n"
    "#pragma unroll\n"
    "        for (int j = 0; j < KEYS; j++)\n"
    "          a = select(a, fma(s[NEXT(j)], (V)AT_V(NEXT(j), e), a),\n"
    "                     seen > (VI)(int)(j0 + NEXT(j)));\n"
    "        acc[e] = a;\n"
    "      }\n";

/* The same for one query: key by key, so that there is little text for it. */
static const char values_seen[] =
    "      float p[KEYS];\n"
    "#pragma unroll\n"
    "      for (int j = 0; j < KEYS; j++) p[j] = s[j];\n"
    "#pragma unroll\n"
    "      for (int e = 0; e < DV; e++) acc[e] *= factor;\n"
    "#pragma unroll 1\n"
    "      for (int j = 0; j < KEYS; j++) {\n"
    "        const int n = NEXT(j);\n"
    "        const float f = p[n];\n"
    "        if (seen <= (int)(j0 + n)) continue;\n"
    "#pragma unroll\n"
    "        for (int e = 0; e < DV; e++) acc[e] = fma(f, AT_V(n, e), acc[e]);\n"
    "      }\n";

enum { COLUMNS_MAX = 128 };

/* Where columns lie in memory anyway, as lanes or because they are many, the loops
** over them stay loops, which a driver compiles faster. */
static bool rolls(const KAttention *a, Way w) {
  return w == BY_LANES || VL_MAX(a->d, a->dv) > COLUMNS_MAX;
}

static void add(Str *s, bool rolled, const char *text) {
  static const char unroll[] = "#pragma unroll\n";
  for (const char *next; *text; text = next) {
    next = strchr(text, '\n') + 1;
    bool columns = strstr(next, "int e") && strstr(next, "int e") < strchr(next, '\n');
    if (rolled && columns && strncmp(text, unroll, sizeof unroll - 1) == 0) continue;
    str_addn(s, text, (size_t)(next - text));
  }
}

static void keys(Str *s, const KAttention *a, Way w) {
  bool tile = w == BY_GROUP, rolled = rolls(a, w);
  str_printf(s, "#define AT_K(j, e) %s\n#define AT_V(j, e) %s\n",
             tile ? "k_tile[j][e]" : "IN(kp[j], ORDER(e))",
             tile ? "v_tile[j][e]" : "IN(vp[j], e)");
  str_add(s, "#define NEXT(j) min(ORDER(j), KEYS - 1)\n");
  add(s, rolled, "  V most = -INFINITY, sum = 0;\n"
            "#pragma unroll\n  for (int e = 0; e < DV; e++) acc[e] = 0;\n"
            "  for (long j0 = 0; j0 < last; j0 += KEYS) {\n");
  for (const char *p = point[w], *at; *p; p = at) {
    at = strchrnul(p, '@');
    str_addn(s, p, (size_t)(at - p));
    if (*at) cl_attention_locate(s, a), at++;
  }
  str_add(s, "    V s[KEYS];\n#pragma unroll\n    for (int j = 0; j < KEYS; j++) s[j] = 0;\n");
  add(s, rolled, tile && a->d % 4 == 0 ? scores_four : scores_single);
  str_printf(s, "#pragma unroll\n    for (int j = 0; j < KEYS; j++) s[j] *= %af;\n",
             (double)a->scale);
  if (a->has_mask) add(s, rolled, masked);
  str_add(s, "    const bool whole = j0 + KEYS <= seen_all;\n    if (!whole) {\n#pragma unroll\n"
             "      for (int j = 0; j < KEYS; j++)\n"
             "        s[j] = select((V)(-INFINITY), s[j], seen > (VI)(int)(j0 + j));\n    }\n");
  str_add(s, rescale);
  str_add(s, "    if (whole) {\n");
  add(s, rolled, tile && a->dv % 4 == 0 ? values_four : values_single);
  str_add(s, "    } else {\n");
  add(s, rolled, w == BY_LANES ? values_some : values_seen);
  str_add(s, "    }\n  }\n");
}

/* ---- end ----------------------------------------------------------------- */

static const char *const finish[] = {
    [BY_LANES] = "  for (int lane = 0; lane < LANES && q0 + lane < lq; lane++) {\n"
                 "    const long to = b * o_b + (q0 + lane) * o_r + h * DV;\n"
                 "    const float all = ((private float *)&sum)[lane];\n"
                 "    for (int e = 0; e < DV; e++)\n"
                 "      OUT(to + e, all == 0 ? 0 : ((private float *)&acc[e])[lane] / all)\n"
                 "  }\n",
    [BY_GROUP] = "  if (mine >= lq) return;\n"
                 "#pragma unroll\n"
                 "  for (int e = 0; e < DV; e++)\n"
                 "    OUT(b * o_b + mine * o_r + h * DV + e, sum == 0 ? 0 : acc[e] / sum)\n",
    [BY_ROW] = "#pragma unroll\n"
               "  for (int e = 0; e < DV; e++) OUT(q0 * o_r + h * DV + e, acc[e] / sum)\n",
};

static void attention_text(ClText *t, const Kernel *k, uint32_t i) {
  const KAttention *a = &k->attention;
  const ClClass *c = t->target->class;
  Way w = way_of(t->target, a);
  static const char *const mask[] = {"m0", "m1", "m2", "m3"};
  Str *s = &t->out;
  cl_begin(t, k, i, (uint64_t[2]){items_of(c, w), 1});
  head(s, a, c, w);
  if (a->has_mask || a->varlen)
    str_printf(s, "  global const %s *extra = x%u;\n", a->varlen ? "long" : "float",
               kattention_extra(a));
  for (int m = 0; a->has_mask && m < 4; m++) cl_const(s, mask[m], a->mask[m]);
  if (w == BY_TENSOR || w == BY_FEW) {
    (w == BY_FEW ? cl_attention_few_text : cl_attention_tensor_text)(s, a);
    cl_end(t);
    return;
  }
  if (w == BY_ROW) cl_const(s, "RUNS", a->batch);
  add(s, rolls(a, w), place[w]);
  keys(s, a, w);
  add(s, rolls(a, w), finish[w]);
  cl_end(t);
}

static bool attention_vectors(const ClTarget *t, const Kernel *k, uint32_t o) {
  (void)o;
  return cl_attention_is_tensor(t, &k->attention);
}

const ClKind cl_attention = {
    .text = attention_text, .grid = attention_grid, .vectors = attention_vectors};
