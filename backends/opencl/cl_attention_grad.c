/* SPDX-License-Identifier: Apache-2.0 */
/* cl_attention_grad.c - the gradients of an attention's operands, without a matrix of
** probabilities.
**
** A group takes a head of one batch entry, or with varlen of one run.  First its items
** compute of each query what its probabilities come from - the greatest score, one over
** their sum, Σ dy y - into local memory; then each item takes rows of the results: a query's
** dq goes over the keys, a key's dk and dv over the queries that see it.  The keys of run 0
** are seen by all runs; its group goes over these one by one and adds to its results in
** place.  Every sum has one fixed order.
**
** Columns are vectors of LANES, as wide as divides them. */
#include "backends/opencl/cl_few.h"

/* Runs are short. */
enum { GROUP_ITEMS = 256, RUN_ITEMS = 64 };

static uint32_t items_of(const ClClass *c, const KAttentionGrad *a) {
  return c->cpu ? 1 : a->varlen ? RUN_ITEMS : GROUP_ITEMS;
}

/* Groups that share an entry's head: on anything but processors dq, the dks and the dvs are
** made apart, so that a work-item holds fewer rows. */
static uint32_t phases_of(const ClTarget *t, const KAttentionGrad *a) {
  return t->class->cpu || a->varlen || cl_grad_is_few(t, a) ? 1 : 3;
}

static uint32_t lanes_of(const ClClass *c, int64_t d) {
  uint32_t most = c->cpu ? 16 : 4;
  while (d % most != 0) most /= 2;
  return most;
}

static void grad_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  const KAttentionGrad *a = &k->attention_grad;
  uint64_t entries = (uint64_t)cl_value(a->batch, sizes);
  if (a->varlen && entries == 0) entries = 1; /* the bounds are looked at all the same */
  g->local[0] = items_of(t->class, a);
  g->global[0] = g->local[0] * phases_of(t, a);
  g->global[1] = entries * (uint64_t)a->heads;
}

static bool of_four(KSize x) { return cl_is_multiple(x, 4); }

/* Rows begin at 16 bytes, and are read as such. */
static bool is_even(const ClClass *c, const KAttentionGrad *a) {
  bool even = !c->cpu && a->d % 4 == 0 && of_four(a->dy_b) && of_four(a->dy_r) &&
              of_four(a->y_b) && of_four(a->y_r) && of_four(a->q_b) && of_four(a->q_r) &&
              (!a->varlen || of_four(a->o_r));
  for (uint32_t i = 0; i < a->n_segments; i++) {
    const KGradSegment *g = &a->segment[i];
    even = even && of_four(g->k_b) && of_four(g->k_r) && of_four(g->v_b) && of_four(g->v_r);
  }
  return even;
}

/* Bounds of runs are not. */
static bool grad_vectors(const ClTarget *t, const Kernel *k, uint32_t o) {
  const KAttentionGrad *a = &k->attention_grad;
  return is_even(t->class, a) && o < 4 + 2 * a->n_segments;
}

/* ---- words of the text ----------------------------------------------------- */

static const char words[] =
    "#define TAKE(to, from) EACH to[e] = VLOAD(e, from)\n"
    "#define GIVE(from, to) EACH VSTORE(from[e], e, to)\n"
    "#define DOT(name, x, row) \\\n"
    "  float name; \\\n"
    "  { \\\n"
    "    V part = 0; \\\n"
    "    EACH part = fma(x[e], VLOAD(e, row), part); \\\n"
    "    name = SUM(part); \\\n"
    "  }\n"
    "#define ADD(to, factor, row) EACH to[e] = fma((V)(factor), VLOAD(e, row), to[e])\n";

/* Off processors rows lie in registers, if every index is known. */
static void vector_words(Str *s, const ClClass *c, uint32_t lanes, bool even) {
  str_add(s, words);
  str_printf(s, "#define EACH %sfor (int e = 0; e < D / LANES; e++)\n",
             c->cpu ? "" : "_Pragma(\"unroll\") ");
  if (lanes == 1)
    str_add(s, "#define V float\n#define VLOAD(e, p) (p)[e]\n#define VSTORE(v, e, p) (p)[e] = v\n"
               "#define SUM(v) (v)\n");
  else if (even)
    str_add(s, "#define V float4\n#define VLOAD(e, p) ((global const float4 *)(p))[e]\n"
               "#define VSTORE(v, e, p) ((global float4 *)(p))[e] = v\n#define SUM vl_sum4\n");
  else
    str_printf(s, "#define V float%u\n#define VLOAD vload%u\n#define VSTORE vstore%u\n"
                  "#define SUM vl_sum%u\n", lanes, lanes, lanes, lanes);
}

/* "#define Q(i) (x3 + b * … + (i) * … + h * D)" */
static void row_word(Str *s, const char *name, uint32_t operand, KSize batch, KSize row) {
  str_printf(s, "#define %s(i) (x%u + b * ", name, operand);
  cl_size(s, batch);
  str_add(s, " + (i) * ");
  cl_size(s, row);
  str_add(s, " + h * D)\n");
}

static void row_words(Str *s, const KAttentionGrad *a) {
  row_word(s, "DY", 1, a->dy_b, a->dy_r);
  row_word(s, "Y", 2, a->y_b, a->y_r);
  row_word(s, "Q", 3, a->q_b, a->q_r);
  for (uint32_t i = 0; i < a->n_segments; i++) {
    const KGradSegment *g = &a->segment[i];
    Str key = {.arena = s->arena}, value = {.arena = s->arena};
    str_printf(&key, "K%u", i);
    str_printf(&value, "VALUE%u", i);
    row_word(s, str_text(&key), 4 + 2 * i, g->k_b, g->k_r);
    row_word(s, str_text(&value), 5 + 2 * i, g->v_b, g->v_r);
  }
}

static void head(Str *s, const KAttentionGrad *a, const ClClass *c) {
  vector_words(s, c, lanes_of(c, a->d), is_even(c, a));
  row_words(s, a);
  str_printf(s, "  enum { HEADS = %lld, D = %lld, LANES = %u, ITEMS = %u, LQ = %lld, "
                "CAUSAL = %d };\n"
                "  const float scale = %af;\n"
                "  const uint item = get_local_id(0);\n"
                "  const long h = get_global_id(1) %% HEADS;\n",
             (long long)a->heads, (long long)a->d, lanes_of(c, a->d), items_of(c, a),
             (long long)a->lq, a->causal, (double)a->scale);
}

/* ---- over keys and queries --------------------------------------------------- */

/* `body` with kr and vr for each key that query i sees, in their order. */
static void each_key(Str *s, const KAttentionGrad *a, const char *body) {
  static const char rows[] = "      global const float *kr = K%u(n), *vr = VALUE%u(n);\n%s    }\n";
  int64_t before = 0;
  if (a->varlen) {
    str_add(s, "    for (long at = 0; at < prefix + i - from + 1; at++) {\n"
               "      const long n = at < prefix ? at : from + at - prefix;\n");
    str_printf(s, rows, 0u, 0u, body);
    return;
  }
  for (uint32_t g = 0; g < a->n_segments; before += a->segment[g++].n) {
    str_printf(s, "    for (long n = 0; n < min(%lldL, seen - %lldL); n++) {\n",
               (long long)a->segment[g].n, (long long)before);
    str_printf(s, rows, g, g, body);
  }
}

/* A query's greatest score, one over the sum of what is above it, and Σ dy y. */
static void stats(Str *s, const KAttentionGrad *a) {
  str_add(s, "    V q[D / LANES];\n    TAKE(q, Q(i));\n    float most = -INFINITY, sum = 0;\n");
  each_key(s, a, "      DOT(x, q, kr)\n      x *= scale;\n"
                 "      const float next = fmax(most, x);\n"
                 "      sum = sum * exp(most - next) + exp(x - next);\n      most = next;\n"
                 "      (void)vr;\n");
  str_add(s, "    TAKE(q, DY(i));\n    DOT(all, q, Y(i))\n"
             "    top[SLOT(i)] = most;\n    less[SLOT(i)] = sum == 0 ? 0 : 1 / sum;\n"
             "    mean[SLOT(i)] = all;\n");
}

static void query(Str *s, const KAttentionGrad *a) {
  str_add(s, "    V q[D / LANES], dy[D / LANES], to[D / LANES];\n"
             "    TAKE(q, Q(i));\n    TAKE(dy, DY(i));\n    EACH to[e] = 0;\n");
  each_key(s, a, "      DOT(x, q, kr)\n      DOT(along, dy, vr)\n"
                 "      const float p = exp(x * scale - top[SLOT(i)]) * less[SLOT(i)];\n"
                 "      ADD(to, p * (along - mean[SLOT(i)]) * scale, kr);\n");
  str_add(s, "    GIVE(to, OUT0(i));\n");
}

/* Adds to dk and dv of key j what queries [first, last) give; kr and vr are its rows. */
static void key(Str *s, bool wants_k, bool wants_v) {
  str_add(s, "      V k[D / LANES], v[D / LANES];\n      TAKE(k, kr);\n      TAKE(v, vr);\n"
             "      for (long i = first; i < last; i++) {\n        DOT(x, k, Q(i))\n"
             "        const float p = exp(x * scale - top[SLOT(i)]) * less[SLOT(i)];\n");
  if (wants_k)
    str_add(s, "        DOT(along, v, DY(i))\n"
               "        ADD(dk, p * (along - mean[SLOT(i)]) * scale, Q(i));\n");
  if (wants_v) str_add(s, "        ADD(dv, p, DY(i));\n");
  str_add(s, "      }\n");
}

static const char stats_memory[] = "  local float top[LQ], less[LQ], mean[LQ];\n";

/* ---- entries of a batch ------------------------------------------------------- */

/* "#define OUT2(i) …": where the part's row i lies. */
static void out_words(Str *s, const KAttentionGrad *a) {
  for (uint32_t part = 0; part < kgrad_parts(a); part++) {
    if (!kgrad_wants(a, part)) continue;
    str_printf(s, "#define OUT%u(i) ", part);
    if (a->varlen) {
      str_add(s, "(x0 + (i) * ");
      cl_size(s, a->o_r);
      str_printf(s, " + (%uL * HEADS + h) * D)\n", kgrad_wanted(a, part));
    } else {
      str_printf(s, "(x0 + ((b * %lldL + %lldL + (i)) * HEADS + h) * D)\n",
                 (long long)kgrad_rows(a, kgrad_parts(a)), (long long)kgrad_rows(a, part));
    }
  }
}

/* dk or dv, or both, of all segments. */
static void entry_keys(Str *s, const KAttentionGrad *a, bool dk, bool dv) {
  int64_t before = 0;
  for (uint32_t g = 0; g < a->n_segments; before += a->segment[g++].n) {
    bool wants_k = dk && kgrad_wants(a, 1 + 2 * g), wants_v = dv && kgrad_wants(a, 2 + 2 * g);
    if (!wants_k && !wants_v) continue;
    str_printf(s, "  for (long j = item; j < %lldL; j += ITEMS) {\n"
                  "      global const float *kr = K%u(j), *vr = VALUE%u(j);\n"
                  "      const long first = CAUSAL ? j + %lldL : 0, last = LQ;\n"
                  "      V dk[D / LANES], dv[D / LANES];\n"
                  "      EACH dk[e] = dv[e] = 0;\n",
               (long long)a->segment[g].n, g, g, (long long)before);
    key(s, wants_k, wants_v);
    if (wants_k) str_printf(s, "      GIVE(dk, OUT%u(j));\n", 1 + 2 * g);
    if (wants_v) str_printf(s, "      GIVE(dv, OUT%u(j));\n", 2 + 2 * g);
    str_add(s, "  }\n");
  }
}

static void entry_text(Str *s, const KAttentionGrad *a, bool apart) {
  str_add(s, stats_memory);
  str_printf(s, "#undef SLOT\n#define SLOT(i) (i)\n"
                "  const long b = get_global_id(1) / HEADS;\n"
                "  for (long i = item; i < LQ; i += ITEMS) {\n"
                "    const long seen = CAUSAL ? min(i + 1, %lldL) : %lldL;\n",
             (long long)kgrad_keys(a), (long long)kgrad_keys(a));
  stats(s, a);
  str_add(s, "  }\n  barrier(CLK_LOCAL_MEM_FENCE);\n");
  if (kgrad_wants(a, 0)) {
    if (apart) str_add(s, "  if (get_group_id(0) == 0)\n");
    str_printf(s, "  for (long i = item; i < LQ; i += ITEMS) {\n"
                  "    const long seen = CAUSAL ? min(i + 1, %lldL) : %lldL;\n",
               (long long)kgrad_keys(a), (long long)kgrad_keys(a));
    query(s, a);
    str_add(s, "  }\n");
  }
  if (!apart) {
    entry_keys(s, a, true, true);
    return;
  }
  str_add(s, "  if (get_group_id(0) == 1) {\n");
  entry_keys(s, a, true, false);
  str_add(s, "  }\n  if (get_group_id(0) == 2) {\n");
  entry_keys(s, a, false, true);
  str_add(s, "  }\n");
}

/* ---- runs ---------------------------------------------------------------------- */

/* Every group looks at all bounds: runs are few, and a fault must show. */
static void check_runs(Str *s, const KAttentionGrad *a) {
  cl_const(s, "RUNS", a->batch);
  cl_const(s, "rows", a->rows);
  str_printf(s, "  const long b = 0, run = get_global_id(1) / HEADS;\n"
                "  global const long *bounds = x6;\n"
                "  bool sound = RUNS > 0 && bounds[0] == 0 && bounds[RUNS] == rows;\n"
                "  for (long r = 0; sound && r < RUNS; r++) {\n"
                "    const long n = bounds[r + 1] - bounds[r];\n"
                "    sound = n >= 0 && n <= LQ && n + (r ? bounds[1] : 0) <= %lldL;\n"
                "  }\n"
                "  if (!sound) vl_fault(fault, step);\n  if (!sound) return;\n",
             (long long)a->segment[0].n);
}

/* The keys of run 0, as few as NEAR, over the rows of all other runs: each work-item looks
** at a row, and then adds up columns of dk and dv over these rows. */
static const char near_memory[] =
    "  enum { NEAR = 24, COLUMNS = (D + ITEMS - 1) / ITEMS };\n"
    "  local float near_p[NEAR][ITEMS], near_ds[NEAR][ITEMS];\n";
static const char near_rows[] =
    "  if (run == 0 && end == 1 && bounds[1] > 0) {\n"
    "    const long near = bounds[1], prefix = near;\n"
    "    float dk[COLUMNS][NEAR], dv[COLUMNS][NEAR];\n"
    "    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);\n"
    "#pragma unroll\n"
    "    for (int m = 0; m < COLUMNS; m++)\n"
    "#pragma unroll\n"
    "      for (int j = 0; j < NEAR; j++) {\n"
    "        const bool is = j < near && item + m * ITEMS < D;\n"
    "        dk[m][j] = is && WANTS_K ? OUT1(j)[item + m * ITEMS] : 0;\n"
    "        dv[m][j] = is && WANTS_V ? OUT2(j)[item + m * ITEMS] : 0;\n"
    "      }\n"
    "    for (long base = near; base < rows; base += ITEMS) {\n"
    "      const long i = min(base + item, rows - 1);\n"
    "      long low = 1, high = RUNS;\n"
    "      while (high - low > 1) {\n"
    "        const long middle = (low + high) / 2;\n"
    "        low = bounds[middle] <= i ? middle : low;\n"
    "        high = bounds[middle] <= i ? high : middle;\n"
    "      }\n"
    "      const long from = bounds[low];\n"
    "      barrier(CLK_LOCAL_MEM_FENCE);\n"
    "      {\n";
static const char near_sums[] =
    "      }\n"
    "      {\n"
    "        V q[D / LANES], dy[D / LANES];\n"
    "        TAKE(q, Q(i));\n"
    "        TAKE(dy, DY(i));\n"
    "        for (long j = 0; j < near; j++) {\n"
    "          DOT(x, q, K0(j))\n"
    "          DOT(along, dy, VALUE0(j))\n"
    "          const float p = exp(x * scale - top[item]) * less[item];\n"
    "          near_p[j][item] = p;\n"
    "          near_ds[j][item] = p * (along - mean[item]) * scale;\n"
    "        }\n"
    "      }\n"
    "      barrier(CLK_LOCAL_MEM_FENCE);\n"
    "      for (long r = 0; r < min((long)ITEMS, rows - base); r++)\n"
    "#pragma unroll\n"
    "        for (int m = 0; m < COLUMNS; m++) {\n"
    "          const long c = min((long)item + m * ITEMS, D - 1L);\n"
    "          const float q = Q(base + r)[c], dy = DY(base + r)[c];\n"
    "#pragma unroll\n"
    "          for (int j = 0; j < NEAR; j++)\n"
    "            if (j < near) {\n"
    "              dk[m][j] = fma(near_ds[j][r], q, dk[m][j]);\n"
    "              dv[m][j] = fma(near_p[j][r], dy, dv[m][j]);\n"
    "            }\n"
    "        }\n"
    "    }\n"
    "#pragma unroll\n"
    "    for (int m = 0; m < COLUMNS; m++)\n"
    "#pragma unroll\n"
    "      for (int j = 0; j < NEAR; j++)\n"
    "        if (j < near && item + m * ITEMS < D) {\n"
    "          if (WANTS_K) OUT1(j)[item + m * ITEMS] = dk[m][j];\n"
    "          if (WANTS_V) OUT2(j)[item + m * ITEMS] = dv[m][j];\n"
    "        }\n"
    "  }\n";

/* What is not wanted is not touched, but has a name. */
static void near_text(Str *s, const KAttentionGrad *a) {
  bool wants_k = kgrad_wants(a, 1), wants_v = kgrad_wants(a, 2);
  if (!wants_k && !wants_v) return;
  if (!wants_k) str_add(s, "#define OUT1(i) x0\n");
  if (!wants_v) str_add(s, "#define OUT2(i) x0\n");
  str_printf(s, "#define WANTS_K %d\n#define WANTS_V %d\n"
                "#undef SLOT\n#define SLOT(i) item\n", wants_k, wants_v);
  str_add(s, near_rows);
  stats(s, a);
  str_add(s, near_sums);
}

static void runs_text(Str *s, const KAttentionGrad *a, bool cpu) {
  bool wants_k = kgrad_wants(a, 1), wants_v = kgrad_wants(a, 2);
  str_add(s, stats_memory);
  if (!cpu) str_add(s, near_memory);
  str_add(s, "#undef SLOT\n#define SLOT(i) ((i) - from)\n");
  check_runs(s, a);
  str_printf(s, "  const long end = run || bounds[1] %s ? run + 1 : RUNS;\n",
             cpu ? "== 0" : "<= NEAR");
  str_add(s, "  for (long r = run; r < end; r++) {\n"
             "    const long from = bounds[r], last = bounds[r + 1], prefix = r ? bounds[1] : 0;\n"
             "    barrier(CLK_LOCAL_MEM_FENCE);\n"
             "    for (long i = from + item; i < last; i += ITEMS) {\n");
  stats(s, a);
  str_add(s, "    }\n    barrier(CLK_LOCAL_MEM_FENCE);\n");
  if (kgrad_wants(a, 0)) {
    str_add(s, "    for (long i = from + item; r == run && i < last; i += ITEMS) {\n");
    query(s, a);
    str_add(s, "    }\n");
  }
  if (wants_k || wants_v) {
    str_add(s, "    for (long j = bounds[run] + item; j < bounds[run + 1]; j += ITEMS) {\n"
               "      global const float *kr = K0(j), *vr = VALUE0(j);\n"
               "      const long first = max(from, j);\n"
               "      V dk[D / LANES], dv[D / LANES];\n"
               "      EACH dk[e] = dv[e] = 0;\n");
    if (wants_k) str_add(s, "      if (r > run) TAKE(dk, OUT1(j));\n");
    if (wants_v) str_add(s, "      if (r > run) TAKE(dv, OUT2(j));\n");
    key(s, wants_k, wants_v);
    if (wants_k) str_add(s, "      GIVE(dk, OUT1(j));\n");
    if (wants_v) str_add(s, "      GIVE(dv, OUT2(j));\n");
    str_add(s, "    }\n");
  }
  str_add(s, "  }\n");
  if (!cpu) near_text(s, a);
}

static void grad_text(ClText *t, const Kernel *k, uint32_t i) {
  const KAttentionGrad *a = &k->attention_grad;
  const ClClass *c = t->target->class;
  Str *s = &t->out;
  cl_begin(t, k, i, (uint64_t[2]){items_of(c, a), 1});
  head(s, a, c);
  out_words(s, a);
  if (cl_grad_is_few(t->target, a))
    cl_grad_few_text(s, a);
  else if (a->varlen)
    runs_text(s, a, c->cpu);
  else
    entry_text(s, a, phases_of(t->target, a) > 1);
  cl_end(t);
}

const ClKind cl_attention_grad = {.text = grad_text, .grid = grad_grid, .vectors = grad_vectors};
