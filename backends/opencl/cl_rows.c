/* SPDX-License-Identifier: Apache-2.0 */
/* cl_rows.c - layernorm and its gradient, softmax and l2norm: a group of row_items work-items for
** each row; item i takes vectors i, i + row_items, … and the sums are joined in
** a fixed tree.  One item takes a whole row on processors, 16 columns at once. */
#include "backends/opencl/cl_text.h"

static uint32_t lanes_of(const ClClass *c) { return c->cpu ? 16 : 4; }

static void rows_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  uint64_t rows = (uint64_t)cl_value(k->rows.g, sizes) * (uint64_t)cl_value(k->rows.m, sizes);
  bool none = rows == 0 || cl_value(k->rows.cols, sizes) == 0;
  g->local[0] = t->class->row_items;
  g->global[0] = none ? 0 : g->local[0];
  g->global[1] = none ? 0 : rows;
}

static bool of_four(KSize x) { return cl_is_multiple(x, 4); }

static bool is_even(const ClTarget *t, const KRows *r) {
  return !t->class->cpu && of_four(r->x_g) && of_four(r->x_m) && of_four(r->o_g) &&
         of_four(r->o_m) && (!r->has_dy || (of_four(r->dy_g) && of_four(r->dy_m)));
}

/* How a row's vectors are read and written; where rows begin at 16 bytes, as such. */
static void vector_words(Str *s, const ClTarget *t, const KRows *r) {
  uint32_t lanes = lanes_of(t->class);
  bool even = is_even(t, r);
  str_printf(s, "#define V float%u\n", lanes);
  if (even)
    str_add(s, "#define VLOAD(i, p) ((global const float4 *)(p))[i]\n");
  else
    str_printf(s, "#define VLOAD vload%u\n", lanes);
  if (even && r->out == NUM_F32)
    str_add(s, "#define VSTORE(v, i, p) ((global float4 *)(p))[i] = v\n");
  else
    str_printf(s, "#define VSTORE %svstore%u\n", cl_wide(knum_dtype(r->out)), lanes);
}

/* Over the row: `vector` on V v at vector index i, `single` on float v at column
** i of what is left; in both AT(i, p) is row p there. */
static void each(Str *s, const char *vector, const char *single) {
  str_printf(s, "#undef AT\n#define AT(i, p) VLOAD(i, p)\n"
                "  for (long i = item; i < whole; i += ITEMS) {\n    V v = AT(i, x);\n%s  }\n",
             vector);
  str_printf(s, "#undef AT\n#define AT(i, p) p[i]\n"
                "  for (long i = whole * LANES + item; i < n; i += ITEMS) {\n"
                "    float v = AT(i, x);\n%s  }\n", single);
}

/* Joins part (a float of each item) into every item's `name`. */
static void join(Str *s, const ClClass *c, const char *name, const char *how) {
  if (c->row_items == 1) {
    str_printf(s, "  const float %s = part;\n", name);
    return;
  }
  str_add(s, "  barrier(CLK_LOCAL_MEM_FENCE);\n  parts[item] = part;\n"
             "  barrier(CLK_LOCAL_MEM_FENCE);\n"
             "  for (uint half_ = ITEMS / 2; half_ > 0; half_ /= 2) {\n");
  str_printf(s, "    if (item < half_) parts[item] = %s;\n", how);
  str_printf(s, "    barrier(CLK_LOCAL_MEM_FENCE);\n  }\n  const float %s = parts[0];\n", name);
}

#define PLUS "parts[item] + parts[item + half_]"
#define MOST "fmax(parts[item], parts[item + half_])"

/* part and sums of an expression over v: "v", "(v - mean) * (v - mean)". */
static void sum(Str *s, const ClClass *c, const char *name, const char *of) {
  Str vector = {.arena = s->arena}, single = {.arena = s->arena};
  str_printf(&vector, "    sums += %s;\n", of);
  str_printf(&single, "    part += %s;\n", of);
  str_add(s, "  {\n  V sums = 0;\n  part = 0;\n");
  each(s, str_text(&vector), str_text(&single));
  str_printf(s, "  part = vl_sum%u(sums) + part;\n  }\n", lanes_of(c));
  join(s, c, name, PLUS);
}

static void most(Str *s, const ClClass *c) {
  str_add(s, "  {\n  V sums = -INFINITY;\n  part = -INFINITY;\n");
  each(s, "    sums = fmax(sums, v);\n", "    part = fmax(part, v);\n");
  str_printf(s, "  part = fmax(vl_most%u(sums), part);\n  }\n", lanes_of(c));
  join(s, c, "most", MOST);
}

static void store(Str *s, VlDtype d, const char *value) {
  Str v = {.arena = s->arena}, one = {.arena = s->arena};
  str_printf(&v, "    VSTORE(%s, i, out);\n", value);
  str_add(&one, "    ");
  cl_store(&one, d, "out", "i", value);
  str_add(&one, "\n");
  each(s, str_text(&v), str_text(&one));
}

#define NORMALISED "(v - mean) * scale"

/* mean and scale of NORMALISED. */
static void normalise(Str *s, const KRows *r, const ClClass *c) {
  sum(s, c, "total", "v");
  str_add(s, "  const float mean = total / (float)n;\n");
  sum(s, c, "squares", "(v - mean) * (v - mean)");
  str_printf(s, "  const float scale = 1.0f / sqrt(squares / (float)n + %af);\n", (double)r->eps);
}

static void layernorm(Str *s, const KRows *r, const ClClass *c) {
  Str v = {.arena = s->arena};
  normalise(s, r, c);
  str_add(&v, NORMALISED);
  if (r->has_gamma) str_add(&v, " * AT(i, x2)");
  if (r->has_beta) str_printf(&v, " + AT(i, x%u)", 2u + r->has_gamma);
  store(s, knum_dtype(r->out), str_text(&v));
}

/* With z the normalised row and g = dy gamma: (g - mean g - z mean(g z)) / sd. */
static void layernorm_grad(Str *s, const KRows *r, const ClClass *c) {
  Str g = {.arena = s->arena}, gz = {.arena = s->arena}, out = {.arena = s->arena};
  normalise(s, r, c);
  str_printf(&g, "AT(i, dy)%s", r->has_gamma ? " * AT(i, x3)" : "");
  str_printf(&gz, "%s * (" NORMALISED ")", str_text(&g));
  str_printf(&out, "(%s - part_g - (" NORMALISED ") * part_gz) * scale", str_text(&g));
  sum(s, c, "sum_g", str_text(&g));
  sum(s, c, "sum_gz", str_text(&gz));
  str_add(s, "  const float part_g = sum_g / (float)n, part_gz = sum_gz / (float)n;\n");
  store(s, VLPC_F32, str_text(&out));
}

static void softmax(Str *s, const KRows *r, const ClClass *c) {
  most(s, c);
  sum(s, c, "total", "exp(v - most)");
  if (r->log) {
    str_add(s, "  const float less = log(total);\n");
    store(s, VLPC_F32, "(v - most) - less");
  } else {
    store(s, VLPC_F32, "exp(v - most) / total");
  }
}

static void l2norm(Str *s, const KRows *r, const ClClass *c) {
  sum(s, c, "squares", "v * v");
  str_printf(s, "  const float norm = fmax(sqrt(squares), %af);\n", (double)r->eps);
  store(s, VLPC_F32, "v / norm");
}

static void rows_text(ClText *t, const Kernel *k, uint32_t i) {
  const KRows *r = &k->rows;
  const ClClass *c = t->target->class;
  KSize gm[2] = {r->g, r->m};
  Str *s = &t->out;
  cl_begin(t, k, i, (uint64_t[2]){c->row_items, 1});
  str_printf(s, "  enum { ITEMS = %u, LANES = %u };\n", c->row_items, lanes_of(c));
  if (c->row_items > 1) str_add(s, "  local float parts[ITEMS];\n");
  cl_const(s, "n", r->cols);
  str_add(s, "  const long whole = n / LANES;\n  const uint item = get_local_id(0);\n"
             "  const uint row = get_global_id(1);\n  float part;\n"
             "  global const float *x = x1 + ");
  cl_row(s, "row", gm, (KSize[2]){r->x_g, r->x_m});
  if (r->has_dy) {
    str_add(s, ";\n  global const float *dy = x2 + ");
    cl_row(s, "row", gm, (KSize[2]){r->dy_g, r->dy_m});
  }
  str_printf(s, ";\n  global %s *out = x0 + ", cl_type(knum_dtype(r->out)));
  cl_row(s, "row", gm, (KSize[2]){r->o_g, r->o_m});
  str_add(s, ";\n");
  vector_words(s, t->target, r);
  if (k->kind == KK_LAYERNORM)
    layernorm(s, r, c);
  else if (k->kind == KK_LAYERNORM_GRAD)
    layernorm_grad(s, r, c);
  else if (k->kind == KK_SOFTMAX)
    softmax(s, r, c);
  else
    l2norm(s, r, c);
  cl_end(t);
}

static bool rows_vectors(const ClTarget *t, const Kernel *k, uint32_t o) {
  (void)o;
  return is_even(t, &k->rows);
}

const ClKind cl_rows = {.text = rows_text, .grid = rows_grid, .vectors = rows_vectors};
