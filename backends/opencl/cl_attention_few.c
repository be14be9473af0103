/* SPDX-License-Identifier: Apache-2.0 */
/* cl_attention_few.c - attention of few queries over wide heads, and its gradient, on
** anything but processors: the matrix of scores lies in local memory, and work-items of a
** group share out its elements, then those of the results. */
#include "backends/opencl/cl_few.h"

enum { WIDE = 128 }; /* columns of which a work-item cannot hold its query's */

static bool is_few(const ClTarget *t, int64_t width, int64_t lq, int64_t floats) {
  return !t->class->cpu && width > WIDE && lq > 0 &&
         floats <= CL_LOCAL_BYTES / (int64_t)sizeof(float) - 2 * CL_FEW_ITEMS;
}

/* A product of two rows is made by a team, whose lanes read what lies side by side. */
static const char teams[] =
    "  enum { TEAM = 16, TEAMS = ITEMS / TEAM };\n"
    "  local float part[TEAM][TEAMS];\n"
    "  const uint lane = item % TEAM, team = item / TEAM;\n";

/* ---- attention ----------------------------------------------------------- */

static int64_t keys_of(const KAttention *a) {
  int64_t n = 0;
  for (uint32_t i = 0; i < a->n_segments; i++) {
    if (a->segment[i].n.dyn >= 0) return 0;
    n += a->segment[i].n.c;
  }
  return n;
}

bool cl_attention_is_few(const ClTarget *t, const KAttention *a) {
  int64_t lk = keys_of(a), lq = a->lq.c;
  if (a->varlen || a->has_mask || a->lq.dyn >= 0 || lk == 0 || lk > CL_LOCAL_BYTES ||
      lq > CL_LOCAL_BYTES)
    return false;
  return is_few(t, VL_MAX(a->d, a->dv), lq, lq * (lk + 1));
}

static const char scores[] =
    "  for (uint first = 0; first < LQ * LK; first += TEAMS) {\n"
    "    const uint at = min(first + team, LQ * LK - 1u);\n"
    "    const long i = at / LK, n = at % LK;\n";
static const char products[] =
    "    float x = 0;\n"
    "#pragma unroll 4\n"
    "    for (int e = lane; e < D; e += TEAM)\n"
    "      x = fma(IN(x1, b * q_b + i * q_r + h * D + e), IN(kr, h * D + e), x);\n"
    "    (void)vr;\n"
    "    part[lane][team] = x;\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    if (lane == 0 && first + team < LQ * LK) {\n"
    "      for (uint l = 1; l < TEAM; l++) x += part[l][team];\n"
    "      s[at] = CAUSAL && n > i ? -INFINITY : x * SCALE;\n"
    "    }\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  }\n"
    "  for (uint i = item; i < LQ; i += ITEMS) {\n"
    "    local float *row = s + i * LK;\n"
    "    float most = -INFINITY, sum = 0;\n"
    "    for (uint n = 0; n < LK; n++)\n"
    "      most = row[n] > most || row[n] != row[n] ? row[n] : most;\n"
    "    for (uint n = 0; n < LK; n++) {\n"
    "      const float p = most == -INFINITY ? 0 : exp(row[n] - most);\n"
    "      sum += p;\n"
    "      row[n] = FACTOR(p);\n"
    "    }\n"
    "    all[i] = sum;\n"
    "  }\n"
    "  barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  for (uint at = item; at < LQ * DV; at += ITEMS) {\n"
    "    const long i = at / DV, c = at % DV, last = CAUSAL ? min(i + 1, (long)LK) : LK;\n"
    "    float x = 0;\n"
    "    for (long j = 0; j < last; j++) {\n"
    "      const long n = min((long)ORDER(j), last - 1);\n";
static const char results[] =
    "      (void)kr;\n"
    "      x = fma(s[i * LK + n], IN(vr, h * DV + c), x);\n"
    "    }\n"
    "    OUT(b * o_b + i * o_r + h * DV + c, all[i] == 0 ? 0 : x / all[i])\n"
    "  }\n";

void cl_attention_few_text(Str *s, const KAttention *a) {
  str_printf(s, "  enum { LQ = %lld, LK = %lld };\n"
                "#define SCALE %af\n"
                "  local float s[LQ * LK], all[LQ];\n"
                "  const uint item = get_local_id(0);\n%s",
             (long long)a->lq.c, (long long)keys_of(a), (double)a->scale, teams);
  str_add(s, scores);
  cl_attention_locate(s, a);
  str_add(s, products);
  cl_attention_locate(s, a);
  str_add(s, results);
}

/* ---- gradient ------------------------------------------------------------ */

bool cl_grad_is_few(const ClTarget *t, const KAttentionGrad *a) {
  int64_t lk = kgrad_keys(a);
  if (a->varlen || lk > CL_LOCAL_BYTES) return false;
  return is_few(t, a->d, a->lq, a->lq * (2 * lk + 1));
}

/* Probabilities p and gradients ds of scores, of a segment's keys. */
static const char grad_scores[] =
    "  for (uint first = 0; first < LQ * %lld; first += TEAMS) {\n"
    "    const uint at = min(first + team, LQ * %lldu - 1u);\n"
    "    const long i = at / %lld, n = at %% %lld, place = i * LK + %lld + n;\n"
    "    global const float *q = Q(i), *dy = DY(i), *kr = K%u(n), *vr = VALUE%u(n);\n"
    "    float x = 0, along = 0;\n"
    "#pragma unroll 4\n"
    "    for (int e = lane; e < D; e += TEAM) {\n"
    "      x = fma(q[e], kr[e], x);\n"
    "      along = fma(dy[e], vr[e], along);\n"
    "    }\n"
    "    part[lane][team] = x;\n"
    "    more[lane][team] = along;\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    if (lane == 0 && first + team < LQ * %lldu) {\n"
    "      for (uint l = 1; l < TEAM; l++) x += part[l][team], along += more[l][team];\n"
    "      p[place] = CAUSAL && %lld + n > i ? -INFINITY : x * scale;\n"
    "      ds[place] = along;\n"
    "    }\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  }\n";
static const char grad_rows[] =
    "  for (uint i = item; i < LQ; i += ITEMS) {\n"
    "    global const float *dy = DY(i), *y = Y(i);\n"
    "    float x = 0;\n"
    "    for (int e = 0; e < D; e++) x = fma(dy[e], y[e], x);\n"
    "    mean[i] = x;\n"
    "  }\n"
    "  barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  for (uint i = item; i < LQ; i += ITEMS) {\n"
    "    float most = -INFINITY, sum = 0;\n"
    "    for (uint n = 0; n < LK; n++) most = fmax(most, p[i * LK + n]);\n"
    "    for (uint n = 0; n < LK; n++) sum += exp(p[i * LK + n] - most);\n"
    "    const float less = sum == 0 ? 0 : 1 / sum;\n"
    "    for (uint n = 0; n < LK; n++) {\n"
    "      p[i * LK + n] = exp(p[i * LK + n] - most) * less;\n"
    "      ds[i * LK + n] = p[i * LK + n] * (ds[i * LK + n] - mean[i]) * scale;\n"
    "    }\n"
    "  }\n"
    "  barrier(CLK_LOCAL_MEM_FENCE);\n";

/* Queries that key n of all sees nothing of come first. */
static void key_sums(Str *s, uint32_t part, const char *factor, const char *rows, int64_t keys,
                     int64_t before) {
  str_printf(s, "  for (uint at = item; at < %lld * D; at += ITEMS) {\n"
                "    const long n = at / D, c = at %% D;\n"
                "    float x = 0;\n"
                "    for (long i = CAUSAL ? n + %lld : 0; i < LQ; i++)\n"
                "      x = fma(%s[i * LK + %lld + n], %s(i)[c], x);\n"
                "    OUT%u(n)[c] = x;\n  }\n",
             (long long)keys, (long long)before, factor, (long long)before, rows, part);
}

static void query_sums(Str *s, const KAttentionGrad *a) {
  int64_t before = 0;
  str_add(s, "  for (uint at = item; at < LQ * D; at += ITEMS) {\n"
             "    const long i = at / D, c = at % D;\n    float x = 0;\n");
  for (uint32_t g = 0; g < a->n_segments; before += a->segment[g++].n)
    str_printf(s, "    for (long n = 0; n < (CAUSAL ? min(%lldL, i + 1 - %lldL) : %lldL); n++)\n"
                  "      x = fma(ds[i * LK + %lld + n], K%u(n)[c], x);\n",
               (long long)a->segment[g].n, (long long)before, (long long)a->segment[g].n,
               (long long)before, g);
  str_add(s, "    OUT0(i)[c] = x;\n  }\n");
}

void cl_grad_few_text(Str *s, const KAttentionGrad *a) {
  int64_t before = 0;
  str_printf(s, "  enum { LK = %lld };\n  local float p[LQ * LK], ds[LQ * LK], mean[LQ];\n"
                "  const long b = get_global_id(1) / HEADS;\n%s"
                "  local float more[TEAM][TEAMS];\n",
             (long long)kgrad_keys(a), teams);
  for (uint32_t g = 0; g < a->n_segments; before += a->segment[g++].n) {
    long long n = a->segment[g].n;
    if (n > 0)
      str_printf(s, grad_scores, n, n, n, n, (long long)before, g, g, n, (long long)before);
  }
  str_add(s, grad_rows);
  if (kgrad_wants(a, 0)) query_sums(s, a);
  before = 0;
  for (uint32_t g = 0; g < a->n_segments; before += a->segment[g++].n) {
    int64_t n = a->segment[g].n;
    if (kgrad_wants(a, 1 + 2 * g)) key_sums(s, 1 + 2 * g, "ds", "Q", n, before);
    if (kgrad_wants(a, 2 + 2 * g)) key_sums(s, 2 + 2 * g, "p", "DY", n, before);
  }
}
