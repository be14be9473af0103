/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h - what a kernel computes, for the backends.
**
** A Kernel is a value: two steps that do the same work on other buffers share
** one.  Sizes and strides are either constants or entries of the list of
** run-time sizes that the step passes (KSize), so one kernel serves every
** batch.  Strides count elements.  Operand 0 is the result; operands are
** pointers to the first element.  An operand that may be absent is listed in
** has_*; present operands are numbered densely in the order given.
**
** Results must not depend on how a kernel is divided into tasks, nor on the
** other rows of a batch: every output element is computed in one fixed order. */
#ifndef VLPC_IR_KERNEL_H
#define VLPC_IR_KERNEL_H

#include "ir/ir.h"

typedef struct {
  int64_t c;   /* the constant, when dyn < 0 */
  int32_t dyn; /* index in the step's sizes, or -1 */
} KSize;

static inline KSize ksize(int64_t c) { return (KSize){c, -1}; }

/* How an operand's elements are held.  bf16 is rounded to nearest even; in sums
** of bf16 products magnitudes below 2^-126 may count as zero. */
typedef enum { NUM_F32 = 0, NUM_BF16 } KNum;

static inline VlDtype knum_dtype(KNum n) { return n == NUM_BF16 ? VLPC_BF16 : VLPC_F32; }

typedef enum {
  KK_LOOPS = 1,
  KK_GEMM,
  KK_ATTENTION,
  KK_ATTENTION_GRAD,
  KK_LAYERNORM,
  KK_LAYERNORM_GRAD,
  KK_SOFTMAX,
  KK_L2NORM,
  KK_SCAN,
  KK_TOPK,
  KK__END
} KernelKind;

/* ---- loops: everything without a kernel of its own ----------------------
** for i in size[0] × … × size[rank-1]:   (the last n_reduce axes are reduced)
**   run the body once per point; result = value of the last body row,
**   stored, or accumulated over the reduced axes in ascending index order and
**   then stored, at Σ i[axis]·out_stride[axis] (reduced axes have stride 0)
** Body rows (KB_*) make one scalar each; a, b, c name earlier rows. */
#define LOOPS_MAX_BODY 48
#define LOOPS_MAX_INDIRECT 4

typedef struct {
  uint32_t operand;             /* which pointer; one access for each */
  KSize stride[VLPC_MAX_RANK];  /* per loop axis; 0 broadcasts */
  /* plus Σ wrap(row value) · stride, where wrap adds size to a negative index
  ** and an index outside [-size, size) stops the kernel with FAULT_INDEX */
  uint32_t n_indirect;
  struct {
    uint32_t row;
    KSize stride, size;
  } ind[LOOPS_MAX_INDIRECT];
} KAccess;

typedef enum { KB_LOAD = 1, KB_LITERAL, KB_INDEX, KB_SIZE, KB_OP } KBodyKind;

typedef struct {
  KBodyKind kind;
  VlDtype dtype;    /* of this row's value */
  uint32_t a, b, c; /* KB_OP: operand rows; KB_INDEX: a is the loop axis */
  OpCode op;        /* KB_OP: an elementwise op, or OP_cast */
  double lit;       /* KB_LITERAL, float dtypes */
  int64_t lit_i;    /* KB_LITERAL, other dtypes */
  KSize size;       /* KB_SIZE: its value, i64 */
  KAccess load;     /* KB_LOAD */
} KBody;

typedef enum {
  KR_NONE = 0,
  KR_SUM,
  KR_MEAN,
  KR_MAX,
  KR_MIN,
  KR_PROD,
  KR_ARGMAX, /* argmax stores i64 */
  KR_ARGMAX_LAST
} KReduce;

typedef struct {
  uint32_t rank, n_reduce;
  KSize size[VLPC_MAX_RANK];
  KReduce reduce;
  uint32_t n_body;
  KBody *body;
  KAccess store; /* operand 0; indirect rows allowed (scatter) */
  bool serial;   /* points run in order in one task (scatter with repeats) */
} KLoops;

/* ---- gemm: C[g,m,:] = act(A[g,m,:] · W + bias) + residual[g,m,:] ---------
** operands: C, A, W, bias?, residual?.  A and W are held as `in` says, C as
** `out`, the rest is f32.  W is [K, N] packed in panels of 16 columns: panel p
** holds W[k, 16p … 16p+15] at (p·K + k)·16, zero beyond N; with transposed (f32
** only) W is that of another gemm turned: its panels hold [N, K], so that both ways
** through a layer share them.  bias is padded to a multiple of 16.  Rows are
** contiguous.  C may be the residual itself when it is f32.  g and m are two levels
** of rows, each with its stride.
** bf16 panels interleave pairs of k: with H = ceil(K / 2), W[k, 16p + l] is at
** ((p·H + k/2)·16 + l)·2 + k%2, zero beyond K.  Sums are f32 and take of each pair
** the odd k first, a multiply-add rounded once each, in ascending pairs: every
** level of instructions gives the same bits, but for what lies below 2^-126. */
typedef enum { ACT_NONE = 0, ACT_GELU_ERF, ACT_GELU_TANH, ACT_GELU_QUICK, ACT_RELU, ACT_TANH } KAct;
#define GEMM_PANEL 16

typedef struct {
  KNum in, out;
  KSize g, m;
  int64_t k, n;
  KSize c_g, c_m, a_g, a_m, r_g, r_m; /* strides of the two row levels */
  bool has_bias, has_residual, transposed;
  KAct act;
} KGemm;

/* Elements of W as packed. */
static inline int64_t gemm_panel_elements(const KGemm *g) {
  int64_t panels = (g->n + GEMM_PANEL - 1) / GEMM_PANEL;
  return panels * GEMM_PANEL * (g->in == NUM_BF16 ? g->k + g->k % 2 : g->k);
}

/* ---- attention: softmax(scale · q kᵀ + mask) v per batch and head --------
** operands: out, q, then k and v of each segment, mask?.  q, k and v are held as
** `in` says (bf16: d is even), out as `out`, the mask is f32.  The keys are the
** rows of the segments one after another.  Head h takes columns h·d … h·d+d-1 of
** q and k, h·dv … of v and out; rows are strided, columns contiguous; a batch
** stride of 0 shares rows between the entries.  The mask, which there is with one
** segment only, is added; its strides (batch, head, query, key) may be 0.  With
** causal, query i sees keys 0 … i.  A row that sees nothing gives zeros.
** With varlen there is one segment and the last operand is bounds: batch runs of
** rows, run s the rows bounds[s] … bounds[s+1]-1 of lq = n rows in all (i64,
** rising from 0; else the kernel stops with FAULT_INDEX); a row sees run 0 and its
** own run up to itself.  Batch strides are then 0.
** With bf16 both products are summed as in gemm, and exp(score - largest) is
** rounded to bf16 before it multiplies v, but not for the sum that divides; the
** largest is that of the row's keys so far where a kernel takes keys in parts. */
typedef struct {
  KSize n, k_b, k_r, v_b, v_r; /* rows, batch and row strides */
} KSegment;

typedef struct {
  KNum in, out;
  KSize batch, lq;
  uint32_t n_segments; /* 1 … ATTENTION_SEGMENTS */
  KSegment segment[ATTENTION_SEGMENTS];
  int64_t heads, d, dv;
  float scale;
  bool causal, has_mask, varlen;
  KSize q_b, q_r, o_b, o_r;
  KSize mask[4];
} KAttention;
/* The operand after those of the segments: mask or bounds. */
static inline uint32_t kattention_extra(const KAttention *k) { return 2 + 2 * k->n_segments; }

/* ---- attention_grad: the gradients of an attention's operands ------------
** operands: out, dy, y, q, then k and v of each segment.  f32; heads, segments,
** scale and causal as in attention, without a mask, and dv = d.  out holds the
** wanted parts one after another as rows of heads·d columns, [batch, rows, heads·d]
** without gaps: dq if bit 0 of want is set, then dk and dv of each segment if bits
** 1 + 2s and 2 + 2s are.  Rows are numbers, so that all of out is written once.
**   p = softmax(scale · q kᵀ), ds = scale · p (dy vᵀ - Σ dy y)
**   dq = ds k,  dk = dsᵀ q,  dv = pᵀ dy
** With varlen there is one segment and the last operand is bounds: batch runs of rows as
** in attention, `rows` in all.  The wanted parts are columns of out then, side by side,
** its rows o_r apart.  A run has at most lq rows and sees at most segment[0].n keys; more
** stop the kernel with FAULT_INDEX.  What the runs add to keys and values of run 0 is
** summed in the order of the runs. */
#define ATTENTION_GRAD_ROWS 1024 /* most queries, and most keys of all segments */

typedef struct {
  int64_t n;                /* rows */
  KSize k_b, k_r, v_b, v_r; /* batch and row strides */
} KGradSegment;

typedef struct {
  KSize batch;
  int64_t lq, heads, d;
  uint32_t n_segments, want;
  KGradSegment segment[ATTENTION_SEGMENTS];
  float scale;
  bool causal, varlen;
  KSize rows, o_r; /* of varlen */
  KSize dy_b, dy_r, y_b, y_r, q_b, q_r;
} KAttentionGrad;

static inline bool kgrad_wants(const KAttentionGrad *k, uint32_t operand) {
  return (k->want >> operand & 1) != 0;
}
/* Of q, and of the keys and values of each segment. */
static inline uint32_t kgrad_parts(const KAttentionGrad *k) { return 1 + 2 * k->n_segments; }
/* Parts wanted before that of an operand; for kgrad_parts all. */
uint32_t kgrad_wanted(const KAttentionGrad *k, uint32_t operand);
/* Rows of the parts of out before that of an operand (of q, k0, v0, …); for
** kgrad_parts all rows.  Not of varlen. */
int64_t kgrad_rows(const KAttentionGrad *k, uint32_t operand);
int64_t kgrad_keys(const KAttentionGrad *k); /* of all segments */

/* ---- rows: one result row from one operand row --------------------------
** operands: out, x (and gamma?, beta? for layernorm; dy, gamma? for its gradient
** of x).  f32, but out as `out` says (bf16: layernorm only); columns contiguous.
** Rows have two levels (g, m) with strides as in gemm. */
typedef struct {
  KNum out;
  KSize g, m, cols;
  KSize o_g, o_m, x_g, x_m, dy_g, dy_m;
  float eps;
  bool has_dy;              /* layernorm_grad */
  bool has_gamma, has_beta; /* layernorm */
  bool log;                 /* softmax: log-softmax */
} KRows;

/* ---- scan (cumsum) and top-k along one axis ------------------------------
** operands: out, x, as [outer, axis, inner], contiguous; inner is a constant, and
** so is axis, but for top-k along the last axis (inner 1), which stops with
** FAULT_INDEX when it has fewer than k elements.  top-k's result axis has k. */
typedef struct {
  VlDtype dtype; /* of x */
  KSize outer, axis, inner;
  int64_t k;
  bool exclusive, reverse;    /* scan */
  bool largest, want_indices; /* top-k: i64 indices instead of values */
} KAxis;

typedef struct {
  KernelKind kind;
  uint32_t n_operands; /* pointers a step passes; operand 0 is the result */
  uint32_t n_sizes;    /* run-time sizes a step passes */
  union {
    KLoops loops;
    KGemm gemm;
    KAttention attention;
    KAttentionGrad attention_grad;
    KRows rows; /* KK_LAYERNORM, KK_LAYERNORM_GRAD, KK_SOFTMAX, KK_L2NORM */
    KAxis axis; /* KK_SCAN, KK_TOPK */
  };
} Kernel;

typedef struct {
  Kernel *at;
  uint32_t n;
} KernelList;

/* "gemm m=? k=768 n=3072 bias gelu_quick": for profiles and inspect. */
void kernel_describe(const Kernel *k, Str *out);
/* Floating-point operations for given run-time sizes (2 per multiply-add;
** elementwise work not counted). */
int64_t kernel_flops(const Kernel *k, const int64_t *sizes);

/* Element type of an operand. */
VlDtype kernel_operand_dtype(const Kernel *k, uint32_t operand);
/* The elements that an operand is touched at lie at Σ index·stride over these
** axes, index in [0, size); returns how many axes were filled (0 … cap). */
typedef struct {
  KSize size, stride;
} KSpan;
#define KSPAN_MAX (VLPC_MAX_RANK + LOOPS_MAX_INDIRECT)
uint32_t kernel_spans(const Kernel *k, uint32_t operand, KSpan out[KSPAN_MAX]);

/* Bytes of a list, on the arena; reading checks everything (hostile). */
void kernels_write(KernelList l, Arena *a, const uint8_t **out, size_t *n);
VL_MUST_USE VlStatus kernels_read(const uint8_t *at, size_t n, Arena *a, DiagAt where, Diag *d,
                                  KernelList *out);
/* Invariants of one kernel; faults are added to the text. */
bool kernel_verify(const Kernel *k, Str *faults);

#endif
