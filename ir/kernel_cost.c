/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_cost.c - kernels for people: a line of text, and operations. */
#include "ir/kernel.h"

static void add_size(Str *out, const char *name, KSize s) {
  if (s.dyn >= 0)
    str_printf(out, " %s=?", name);
  else
    str_printf(out, " %s=%lld", name, (long long)s.c);
}

static const char *const act_name[] = {[ACT_NONE] = "",
                                       [ACT_GELU_ERF] = " gelu_erf",
                                       [ACT_GELU_TANH] = " gelu_tanh",
                                       [ACT_GELU_QUICK] = " gelu_quick",
                                       [ACT_RELU] = " relu",
                                       [ACT_TANH] = " tanh"};

static void describe_loops(const KLoops *l, Str *out) {
  str_add(out, "loops [");
  for (uint32_t i = 0; i < l->rank; i++) {
    if (l->size[i].dyn >= 0)
      str_printf(out, "%s?", i ? "," : "");
    else
      str_printf(out, "%s%lld", i ? "," : "", (long long)l->size[i].c);
  }
  str_add(out, "]");
  for (uint32_t i = 0; i < l->n_body; i++) {
    if (l->body[i].kind == KB_OP) str_printf(out, " %s", op_info(l->body[i].op)->name);
  }
  static const char *const reduce[] = {"",     " sum",  " mean",   " max",
                                       " min", " prod", " argmax", " argmax_last"};
  str_add(out, reduce[l->reduce]);
}

void kernel_describe(const Kernel *k, Str *out) {
  switch (k->kind) {
  case KK_LOOPS:
    describe_loops(&k->loops, out);
    break;
  case KK_GEMM:
    str_add(out, k->gemm.in == NUM_BF16 ? "gemm bf16" : "gemm");
    add_size(out, "m", k->gemm.m);
    str_printf(out, " k=%lld n=%lld%s%s%s%s", (long long)k->gemm.k, (long long)k->gemm.n,
               k->gemm.transposed ? " transposed" : "", k->gemm.has_bias ? " bias" : "",
               act_name[k->gemm.act], k->gemm.has_residual ? " residual" : "");
    break;
  case KK_ATTENTION:
    str_add(out, k->attention.in == NUM_BF16 ? "attention bf16" : "attention");
    str_printf(out, " heads=%lld d=%lld", (long long)k->attention.heads,
               (long long)k->attention.d);
    add_size(out, "lq", k->attention.lq);
    for (uint32_t i = 0; i < k->attention.n_segments; i++)
      add_size(out, "lk", k->attention.segment[i].n);
    str_printf(out, "%s%s", k->attention.causal ? " causal" : "",
               k->attention.varlen     ? " varlen"
               : k->attention.has_mask ? " mask"
                                       : "");
    break;
  case KK_ATTENTION_GRAD:
    str_printf(out, "attention_grad heads=%lld d=%lld lq=%lld lk=%lld want=%x%s",
               (long long)k->attention_grad.heads, (long long)k->attention_grad.d,
               (long long)k->attention_grad.lq, (long long)kgrad_keys(&k->attention_grad),
               k->attention_grad.want,
               k->attention_grad.varlen   ? " varlen"
               : k->attention_grad.causal ? " causal"
                                          : "");
    break;
  case KK_LAYERNORM:
    str_add(out, k->rows.out == NUM_BF16 ? "layernorm bf16" : "layernorm");
    add_size(out, "cols", k->rows.cols);
    break;
  case KK_LAYERNORM_GRAD:
    str_add(out, "layernorm_grad"), add_size(out, "cols", k->rows.cols);
    break;
  case KK_SOFTMAX:
    str_add(out, k->rows.log ? "log_softmax" : "softmax"), add_size(out, "cols", k->rows.cols);
    break;
  case KK_L2NORM:
    str_add(out, "l2norm"), add_size(out, "cols", k->rows.cols);
    break;
  case KK_SCAN:
    str_add(out, "cumsum"), add_size(out, "axis", k->axis.axis);
    break;
  case KK_TOPK:
    str_printf(out, "topk k=%lld", (long long)k->axis.k);
    break;
  case KK__END:
  default:
    VL_UNREACHABLE("kernel kind");
  }
}

static int64_t size_value(KSize s, const int64_t *sizes) {
  return s.dyn < 0 ? s.c : sizes[s.dyn];
}

/* Pairs of query and key, of runs as if they were equally long. */
static int64_t varlen_pairs(int64_t rows, int64_t runs) {
  return runs > 0 ? rows * (rows / runs + 1) / 2 : 0;
}

static int64_t attention_flops(const KAttention *t, const int64_t *sizes) {
  int64_t lq = size_value(t->lq, sizes), lk = 0;
  for (uint32_t i = 0; i < t->n_segments; i++) lk += size_value(t->segment[i].n, sizes);
  if (t->varlen)
    return 2 * t->heads * varlen_pairs(lq, size_value(t->batch, sizes)) * (t->d + t->dv);
  int64_t pairs = t->causal && lq == lk ? lq * (lq + 1) / 2 : lq * lk;
  return 2 * size_value(t->batch, sizes) * t->heads * pairs * (t->d + t->dv);
}

static int64_t varlen_grad_flops(const KAttentionGrad *t, const int64_t *sizes) {
  int64_t pairs = varlen_pairs(size_value(t->rows, sizes), size_value(t->batch, sizes));
  return 2 * t->heads * t->d * pairs * (2 + kgrad_wanted(t, kgrad_parts(t)));
}

/* Five products, those left out that nobody wants. */
static int64_t attention_grad_flops(const KAttentionGrad *t, const int64_t *sizes) {
  if (t->varlen) return varlen_grad_flops(t, sizes);
  int64_t keys = kgrad_keys(t), each = 2 * t->heads * t->d * size_value(t->batch, sizes);
  int64_t pairs = t->causal && t->lq == keys ? t->lq * (t->lq + 1) / 2 : t->lq * keys;
  int64_t products = 2 + kgrad_wants(t, 0);
  int64_t flops = each * pairs * products;
  for (uint32_t s = 0; s < t->n_segments; s++)
    flops += each * pairs / keys * t->segment[s].n *
             (kgrad_wants(t, 1 + 2 * s) + kgrad_wants(t, 2 + 2 * s));
  return flops;
}

int64_t kernel_flops(const Kernel *k, const int64_t *sizes) {
  switch (k->kind) {
  case KK_GEMM:
    return 2 * size_value(k->gemm.g, sizes) * size_value(k->gemm.m, sizes) * k->gemm.k * k->gemm.n;
  case KK_ATTENTION:
    return attention_flops(&k->attention, sizes);
  case KK_ATTENTION_GRAD:
    return attention_grad_flops(&k->attention_grad, sizes);
  case KK_LOOPS:
  case KK_LAYERNORM:
  case KK_LAYERNORM_GRAD:
  case KK_SOFTMAX:
  case KK_L2NORM:
  case KK_SCAN:
  case KK_TOPK:
  case KK__END:
  default:
    return 0;
  }
}
