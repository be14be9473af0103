/* SPDX-License-Identifier: Apache-2.0 */
/* cl_axis.c - scan and top-k: one work-item for each line along the axis. */
#include "backends/opencl/cl_text.h"

static void axis_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  uint64_t lines = (uint64_t)cl_value(k->axis.outer, sizes) * (uint64_t)k->axis.inner.c;
  g->local[0] = t->class->items;
  g->global[0] = vl_align_up(lines, g->local[0]);
  if (lines == 0) g->global[1] = 0;
}

static void load(Str *s, const KAxis *x, const char *name, const char *index) {
  const char *held = dtype_is_float(x->dtype) ? cl_held(x->dtype) : "long";
  str_printf(s, "    const %s %s = ", held, name);
  cl_load(s, x->dtype, "x1", index);
  str_add(s, ";\n");
}

static void scan(Str *s, const KAxis *x) {
  const char *held = dtype_is_float(x->dtype) ? cl_held(x->dtype) : "long";
  str_printf(s, "  %s sum = 0;\n  for (long i = 0; i < AXIS; i++) {\n", held);
  str_printf(s, "    const long at = (outer * AXIS + %s) * INNER + inner;\n",
             x->reverse ? "AXIS - 1 - i" : "i");
  load(s, x, "v", "at");
  str_printf(s, "    const %s before = sum;\n    sum = ", held);
  cl_convert(s, dtype_is_float(x->dtype) ? VLPC_F32 : VLPC_I64, x->dtype, "(sum + v)");
  str_add(s, ";\n    ");
  cl_store(s, x->dtype, "x0", "at", x->exclusive ? "before" : "sum");
  str_add(s, "\n  }\n");
}

/* Whether value `a` goes before `b`; NaN is above all. */
static void before(Str *s, const KAxis *x, const char *a, const char *b) {
  const char *high = x->largest ? a : b, *low = x->largest ? b : a;
  if (dtype_is_float(x->dtype))
    str_printf(s, "(%s != %s ? %s == %s : %s > %s)", high, high, low, low, high, low);
  else
    str_printf(s, "(%s > %s)", high, low);
}

/* The next in order after (last, last_at): values in order, equal ones by
** place.  Each of the k results looks through the line once. */
static void topk(Str *s, const KAxis *x) {
  if (x->axis.dyn >= 0)
    str_printf(s, "  if (AXIS < %lldL) {\n    vl_fault(fault, step);\n    return;\n  }\n",
               (long long)x->k);
  const char *held = dtype_is_float(x->dtype) ? cl_held(x->dtype) : "long";
  str_printf(s, "  %s last = 0;\n  long last_at = -1;\n", held);
  str_printf(s, "  for (long r = 0; r < %lldL; r++) {\n  %s best = 0;\n  long best_at = -1;\n",
             (long long)x->k, held);
  str_add(s, "  for (long i = 0; i < AXIS; i++) {\n");
  load(s, x, "v", "(outer * AXIS + i) * INNER + inner");
  str_add(s, "    const bool left = r == 0 || ");
  before(s, x, "last", "v");
  str_add(s, " || (!");
  before(s, x, "v", "last");
  str_add(s, " && i > last_at);\n    if (left && (best_at < 0 || ");
  before(s, x, "v", "best");
  str_add(s, ")) { best = v; best_at = i; }\n  }\n");
  str_printf(s, "    const long to = (outer * %lldL + r) * INNER + inner;\n    ", (long long)x->k);
  if (x->want_indices)
    cl_store(s, VLPC_I64, "x0", "to", "best_at");
  else
    cl_store(s, x->dtype, "x0", "to", "best");
  str_add(s, "\n    last = best;\n    last_at = best_at;\n  }\n");
}

static void axis_text(ClText *t, const Kernel *k, uint32_t i) {
  const KAxis *x = &k->axis;
  Str *s = &t->out;
  cl_begin(t, k, i, (uint64_t[2]){t->target->class->items, 1});
  cl_const(s, "OUTER", x->outer);
  cl_const(s, "AXIS", x->axis);
  cl_const(s, "INNER", x->inner);
  str_add(s, "  const long line = get_global_id(0);\n  if (line >= OUTER * INNER) return;\n"
             "  const long outer = line / INNER, inner = line % INNER;\n");
  if (k->kind == KK_SCAN)
    scan(s, x);
  else
    topk(s, x);
  cl_end(t);
}

const ClKind cl_axis = {.text = axis_text, .grid = axis_grid};
