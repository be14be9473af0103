/* SPDX-License-Identifier: Apache-2.0 */
/* cl_emit.c - the program of a list of kernels: prelude, then kernel after
** kernel by its kind. */
#include "backends/opencl/cl_tensor.h"

#include <string.h>

static const ClKind *const kinds[KK__END] = {
    [KK_LOOPS] = &cl_loops,    [KK_GEMM] = &cl_gemm,   [KK_ATTENTION] = &cl_attention,
    [KK_ATTENTION_GRAD] = &cl_attention_grad,
    [KK_LAYERNORM] = &cl_rows, [KK_LAYERNORM_GRAD] = &cl_rows, [KK_SOFTMAX] = &cl_rows,
    [KK_L2NORM] = &cl_rows,
    [KK_SCAN] = &cl_axis,      [KK_TOPK] = &cl_axis,
};

void cl_size(Str *s, KSize x) {
  if (x.dyn >= 0)
    str_printf(s, "s%d", (int)x.dyn);
  else
    cl_literal(s, VLPC_I64, 0, x.c);
}

void cl_const(Str *s, const char *name, KSize x) {
  str_printf(s, "  const long %s = ", name);
  cl_size(s, x);
  str_add(s, ";\n");
}

void cl_row(Str *s, const char *row, const KSize gm[2], const KSize stride[2]) {
  if (cl_is_one(gm[0])) {
    str_printf(s, "((long)(%s) * ", row);
    cl_size(s, stride[1]);
    str_add(s, ")");
    return;
  }
  str_printf(s, "((long)((%s) / (uint)", row);
  cl_size(s, gm[1]);
  str_add(s, ") * ");
  cl_size(s, stride[0]);
  str_printf(s, " + (long)((%s) %% (uint)", row);
  cl_size(s, gm[1]);
  str_add(s, ") * ");
  cl_size(s, stride[1]);
  str_add(s, ")");
}

void cl_factors(Str *s, KNum in) {
  str_add(s, in == NUM_BF16
                 ? "#define IN(p, i) vl_load_bf16(p, i)\n#define ORDER(i) ((i) ^ 1)\n"
                 : "#define IN(p, i) ((p)[i])\n#define ORDER(i) (i)\n");
}

void cl_begin(ClText *t, const Kernel *k, uint32_t i, const uint64_t local[2]) {
  Str *s = &t->out, text = {.arena = s->arena};
  kernel_describe(k, &text);
  str_printf(s, "\n/* %s */\n", str_text(&text));
  str_printf(s, "kernel __attribute__((reqd_work_group_size(%u, %u, 1)))\nvoid k%u(",
             (unsigned)local[0], (unsigned)local[1], i);
  for (uint32_t o = 0; o < k->n_operands; o++)
    str_printf(s, "global %s%s *p%u, long o%u, ", o ? "const " : "",
               cl_type(kernel_operand_dtype(k, o)), o, o);
  for (uint32_t o = 0; o < k->n_sizes; o++) str_printf(s, "long s%u, ", o);
  str_add(s, "global int *fault, int step) {\n");
  for (uint32_t o = 0; o < k->n_operands; o++)
    str_printf(s, "  global %s%s *x%u = p%u + o%u;\n", o ? "const " : "",
               cl_type(kernel_operand_dtype(k, o)), o, o, o);
}

void cl_end(ClText *t) { str_add(&t->out, "}\n"); }

static bool has_double(const Kernel *k) {
  for (uint32_t o = 0; o < k->n_operands; o++) {
    if (kernel_operand_dtype(k, o) == VLPC_F64) return true;
  }
  for (uint32_t i = 0; k->kind == KK_LOOPS && i < k->loops.n_body; i++) {
    if (k->loops.body[i].dtype == VLPC_F64) return true;
  }
  return false;
}

const char *cl_cannot_run(const ClTarget *target, const Kernel *k) {
  return !target->fp64 && has_double(k) ? "the device has no double precision" : NULL;
}

/* What a kernel defines ends with it. */
static void undefine(Str *s, size_t from) {
  static const char define[] = "#define ";
  Str names = {.arena = s->arena};
  for (const char *p = s->at + from; (p = strstr(p, define)) != NULL;) {
    p += sizeof define - 1;
    size_t n = strcspn(p, "( \n");
    str_add(&names, "#undef ");
    str_addn(&names, p, n);
    str_add(&names, "\n");
    p += n;
  }
  str_add(s, str_text(&names));
}

const char *cl_program_text(KernelList l, const ClTarget *target, Arena *a) {
  ClText t = {.target = target, .out = {.arena = a}};
  Str s = {.arena = a};
  for (uint32_t i = 0; i < l.n; i++) {
    size_t from = t.out.n;
    if (cl_cannot_run(target, &l.at[i])) continue;
    kinds[l.at[i].kind]->text(&t, &l.at[i], i);
    undefine(&t.out, from);
  }
  cl_prelude(&t, &s);
  cl_tensor_words(target, str_text(&t.out), &s);
  str_add(&s, str_text(&t.out));
  return str_text(&s);
}

void cl_grid(const ClTarget *target, const Kernel *k, const int64_t *sizes, ClGrid *out) {
  *out = (ClGrid){.dims = 2, .global = {1, 1}, .local = {1, 1}};
  kinds[k->kind]->grid(target, k, sizes, out);
}

bool cl_wants_vectors(const ClTarget *target, const Kernel *k, uint32_t o) {
  const ClKind *kind = kinds[k->kind];
  return kind->vectors != NULL && kind->vectors(target, k, o);
}
