/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_loops_test.c - generic loop nests against llvm_loops_ref, on every
** target: every op on every dtype, casts, layouts, indices, reductions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/device/llvm_kit.h"
#include "tests/device/llvm_loops_ref.h"

/* ---- making kernels ------------------------------------------------------ */

typedef struct {
  Kernel k;
  KBody body[LOOPS_MAX_BODY];
} Nest;

static void nest_init(Nest *n, uint32_t rank, const int64_t *size) {
  memset(n, 0, sizeof *n);
  n->k.kind = KK_LOOPS, n->k.n_operands = 1;
  n->k.loops.rank = rank, n->k.loops.body = n->body;
  for (uint32_t i = 0; i < rank; i++) n->k.loops.size[i] = ksize(size[i]);
  int64_t stride = 1;
  for (uint32_t i = rank; i-- > 0;) n->k.loops.store.stride[i] = ksize(stride), stride *= size[i];
}

static uint32_t add_row(Nest *n, KBody row) {
  n->body[n->k.loops.n_body] = row;
  return n->k.loops.n_body++;
}

static uint32_t add_load(Nest *n, VlDtype d, const int64_t *stride) {
  KBody row = {.kind = KB_LOAD, .dtype = d};
  row.load.operand = n->k.n_operands++;
  for (uint32_t i = 0; i < n->k.loops.rank; i++) row.load.stride[i] = ksize(stride[i]);
  return add_row(n, row);
}

static uint32_t add_op(Nest *n, OpCode op, VlDtype d, uint32_t a, uint32_t b) {
  return add_row(n, (KBody){.kind = KB_OP, .dtype = d, .op = op, .a = a, .b = b, .c = b});
}

static void reduce_last(Nest *n, uint32_t axes, KReduce r) {
  KLoops *l = &n->k.loops;
  l->n_reduce = axes, l->reduce = r;
  int64_t stride = 1;
  for (uint32_t i = l->rank; i-- > 0;) {
    bool reduced = i >= l->rank - axes;
    l->store.stride[i] = ksize(reduced ? 0 : stride);
    if (!reduced) stride *= l->size[i].c;
  }
}

/* ---- comparing ----------------------------------------------------------- */

enum { OPERAND_BYTES = 1 << 16 };

static void *cells(const Kit *kit, VlDtype d, uint64_t seed, bool special) {
  static const double odd[] = {0,   -0.0, 1,   -1,   INFINITY, -INFINITY,
                               NAN, 0.5,  2.5, -2.5, 1e-40,    100};
  int64_t n = OPERAND_BYTES / (int64_t)dtype_size(d);
  void *p = arena_array(kit->arena, char, OPERAND_BYTES + 64);
  for (int64_t i = 0; i < n; i++) {
    double v = 8 * (2 * rng_uniform((Rng){seed, 2}, (uint64_t)i) - 1);
    if (special && i % 5 == 0) v = odd[(uint64_t)i / 5 * (seed + 1) % VL_COUNT(odd)];
    if (dtype_is_float(d)) dtype_store(d, p, i, v);
    else dtype_store_i64(d, p, i, d == VLPC_BOOL ? v > 0 : (int64_t)v);
  }
  return p;
}

typedef struct {
  VlDtype d;
  double error; /* relative to 1 + |value|; 0: exact */
} Close;

static double unit_of(VlDtype d) {
  return d == VLPC_F16 ? 0x1p-10 : d == VLPC_BF16 ? 0x1p-7 : d == VLPC_F64 ? 0x1p-45 : 2e-6;
}

static void expect_close(const void *got, const void *want, Close how, const char *what) {
  int64_t n = OPERAND_BYTES / (int64_t)dtype_size(how.d);
  for (int64_t i = 0; i < n; i++) {
    if (!dtype_is_float(how.d)) {
      long long g = dtype_load_i64(how.d, got, i), w = dtype_load_i64(how.d, want, i);
      if (g != w) fail_msg("%s: element %lld is %lld, should be %lld", what, (long long)i, g, w);
      continue;
    }
    double g = dtype_load(how.d, got, i), w = dtype_load(how.d, want, i);
    if ((isnan(g) && isnan(w)) || g == w) continue;
    double limit = how.d == VLPC_F32 ? 3e38 : INFINITY;
    if (isinf(w) && fabs(g) >= limit * 0.9999) continue;
    if (!(fabs(g - w) <= how.error * (1 + fabs(w))))
      fail_msg("%s: element %lld is %.9g, should be %.9g", what, (long long)i, g, w);
  }
}

/* Runs a kit's one kernel whole and in pieces, and holds both against the reference;
** bytes outside the result must stay. */
static void check(const char *target, const Kit *kit, Nest *n, void *operands[], VlDtype out,
                  const char *what) {
  void *got = arena_array(kit->arena, char, OPERAND_BYTES + 64);
  void *want = arena_array(kit->arena, char, OPERAND_BYTES + 64);
  char text[120];
  snprintf(text, sizeof text, "%s, %s, %s", what, dtype_name(out), target);
  operands[0] = want;
  int fault = loops_ref(&n->k, operands, NULL);
  for (int pieces = 1; pieces <= 4; pieces += 3) {
    memset(got, 0, OPERAND_BYTES);
    operands[0] = got;
    assert_int_equal(kit_run(kit, 0, operands, NULL, pieces), fault);
    if (!fault) expect_close(got, want, (Close){out, unit_of(out)}, text);
  }
}

#define EACH_TARGET(t) for (int t = 0; kit_target(t); t++)

/* ---- ops ----------------------------------------------------------------- */

static const VlDtype dtypes[] = {VLPC_F32, VLPC_F16, VLPC_BF16, VLPC_F64, VLPC_I64, VLPC_I32,
                                 VLPC_I8,  VLPC_U8,  VLPC_BOOL, VLPC_I16, VLPC_U16, VLPC_U32};

/* Those with code of their own everywhere, every dtype where there is time. */
static bool tried(int target, VlDtype d) {
  bool own = d == VLPC_F32 || d == VLPC_F16 || d == VLPC_I64 || d == VLPC_BOOL;
  return own || kit_every_dtype(target);
}

static bool takes(OpCode op, VlDtype d) {
  uint32_t flags = op_info(op)->flags;
  if (flags & F_FLOAT_IN) return dtype_is_float(d);
  if (flags & F_BOOL_IN) return d == VLPC_BOOL;
  return d != VLPC_BOOL || (flags & F_BOOL_OUT);
}

/* Rounding the operands of a long kernel in halves can tip floor and the like:
** those are held on exact inputs only, which cells() gives. */
static void check_op(const char *target, OpCode op, VlDtype d) {
  Nest n;
  nest_init(&n, 1, (int64_t[]){83});
  uint32_t a = add_load(&n, d, (int64_t[]){1});
  uint32_t b = op_info(op)->min_in > 1 ? add_load(&n, d, (int64_t[]){1}) : a;
  VlDtype out = op_info(op)->flags & F_BOOL_OUT ? VLPC_BOOL : d;
  add_op(&n, op, out, a, b);
  Kit kit = kit_open(target, &n.k, 1);
  void *operands[3] = {NULL, cells(&kit, d, 1, true), cells(&kit, d, 2, true)};
  check(target, &kit, &n, operands, out, op_info(op)->name);
  kit_close(&kit);
}

static void test_ops(void **state) {
  (void)state;
  EACH_TARGET(t) {
    for (int op = 1; op < OP__COUNT; op++) {
      if (op_info(op)->kind != K_EW || op == OP_where || op == OP_cast) continue;
      for (size_t i = 0; i < VL_COUNT(dtypes); i++)
        if (takes((OpCode)op, dtypes[i]) && tried(t, dtypes[i]))
          check_op(kit_target(t), (OpCode)op, dtypes[i]);
    }
  }
}

/* ---- casts --------------------------------------------------------------- */

static void test_casts(void **state) {
  (void)state;
  EACH_TARGET(t) {
    for (size_t i = 0; i < VL_COUNT(dtypes); i++)
      for (size_t j = 0; j < VL_COUNT(dtypes); j++) {
        if (!tried(t, dtypes[i]) || !tried(t, dtypes[j])) continue;
        Nest n;
        nest_init(&n, 1, (int64_t[]){51});
        uint32_t a = add_load(&n, dtypes[i], (int64_t[]){1});
        add_op(&n, OP_cast, dtypes[j], a, a);
        Kit kit = kit_open(kit_target(t), &n.k, 1);
        void *operands[2] = {NULL, cells(&kit, dtypes[i], 3, true)};
        check(kit_target(t), &kit, &n, operands, dtypes[j], dtype_name(dtypes[i]));
        kit_close(&kit);
      }
  }
}

/* ---- layouts ------------------------------------------------------------- */

typedef struct {
  const char *what;
  uint32_t rank;
  int64_t size[4], a[4], b[4];
} Layout;

static const Layout layouts[] = {
    {"one point", 0, {0}, {0}, {0}},
    {"contiguous", 3, {3, 5, 40}, {200, 40, 1}, {200, 40, 1}},
    {"rows broadcast", 3, {3, 5, 40}, {200, 40, 1}, {0, 0, 1}},
    {"columns broadcast", 3, {3, 5, 40}, {200, 40, 1}, {5, 1, 0}},
    {"transposed", 2, {33, 21}, {1, 33}, {21, 1}},
    {"permuted", 4, {2, 3, 4, 17}, {204, 17, 51, 1}, {1, 2, 6, 24}},
    {"every second", 1, {100}, {2}, {3}},
    {"long", 1, {9000}, {1}, {1}},
    {"narrow", 2, {50, 3}, {3, 1}, {1, 0}},
    {"empty", 2, {0, 5}, {5, 1}, {5, 1}},
    {"empty inside", 2, {5, 0}, {1, 1}, {1, 1}},
};

static void test_layouts(void **state) {
  (void)state;
  EACH_TARGET(t) {
    for (size_t i = 0; i < VL_COUNT(layouts); i++) {
      const Layout *l = &layouts[i];
      Nest n;
      nest_init(&n, l->rank, l->size);
      add_op(&n, OP_sub, VLPC_F32, add_load(&n, VLPC_F32, l->a), add_load(&n, VLPC_F32, l->b));
      Kit kit = kit_open(kit_target(t), &n.k, 1);
      void *operands[3] = {NULL, cells(&kit, VLPC_F32, 4, true), cells(&kit, VLPC_F32, 5, true)};
      check(kit_target(t), &kit, &n, operands, VLPC_F32, l->what);
      kit_close(&kit);
    }
  }
}

/* Backwards, into a strided part of the result; where, index and literal. */
static void test_slices(void **state) {
  (void)state;
  EACH_TARGET(t) {
    Nest n;
    nest_init(&n, 2, (int64_t[]){7, 37});
    n.k.loops.store.stride[0] = ksize(100), n.k.loops.store.stride[1] = ksize(2);
    uint32_t a = add_load(&n, VLPC_F32, (int64_t[]){37, -1});
    uint32_t col = add_row(&n, (KBody){.kind = KB_INDEX, .dtype = VLPC_I64, .a = 1});
    uint32_t row = add_row(&n, (KBody){.kind = KB_INDEX, .dtype = VLPC_I64, .a = 0});
    uint32_t ten = add_row(&n, (KBody){.kind = KB_SIZE, .dtype = VLPC_I64, .size = ksize(10)});
    uint32_t half = add_row(&n, (KBody){.kind = KB_LITERAL, .dtype = VLPC_F32, .lit = 0.5});
    uint32_t limit = add_op(&n, OP_add, VLPC_I64, row, ten);
    uint32_t below = add_op(&n, OP_lt, VLPC_BOOL, col, limit);
    add_row(
        &n,
        (KBody){.kind = KB_OP, .dtype = VLPC_F32, .op = OP_where, .a = below, .b = a, .c = half});
    Kit kit = kit_open(kit_target(t), &n.k, 1);
    char *x = cells(&kit, VLPC_F32, 6, true);
    void *operands[2] = {NULL, x + 36 * sizeof(float)};
    check(kit_target(t), &kit, &n, operands, VLPC_F32, "slice");
    kit_close(&kit);
  }
}

/* Sizes and strides given at run time do what constants do. */
static void test_run_time_sizes(void **state) {
  (void)state;
  EACH_TARGET(t) {
    Nest n;
    nest_init(&n, 2, (int64_t[]){6, 45});
    uint32_t a = add_load(&n, VLPC_F32, (int64_t[]){45, 1});
    add_op(&n, OP_exp, VLPC_F32, a, a);
    Kernel fixed = n.k, dynamic;
    KBody body[2] = {n.body[0], n.body[1]};
    dynamic = n.k;
    dynamic.n_sizes = 3, dynamic.loops.body = body;
    dynamic.loops.size[0] = (KSize){0, 0}, dynamic.loops.size[1] = (KSize){0, 1};
    dynamic.loops.store.stride[0] = (KSize){0, 1};
    body[0].load.stride[0] = (KSize){0, 1}, body[0].load.stride[1] = (KSize){0, 2};
    Kernel both[2] = {fixed, dynamic};
    Kit kit = kit_open(kit_target(t), both, 2);
    float *x = kit_floats(&kit, 8, 270), *y = kit_filled(&kit, 270, 0),
          *z = kit_filled(&kit, 270, 0);
    const int64_t sizes[3] = {6, 45, 1};
    assert_int_equal(kit_run(&kit, 0, (void *[]){y, x}, NULL, 1), 0);
    assert_int_equal(kit_run(&kit, 1, (void *[]){z, x}, sizes, 2), 0);
    kit_same(y, z, 270, "run-time sizes");
    kit_close(&kit);
  }
}

/* ---- indices ------------------------------------------------------------- */

/* out[i, j] = table[index[…]…] with the index along axis `axis`. */
static void make_gather(Nest *n, int axis) {
  nest_init(n, 2, (int64_t[]){9, 50});
  uint32_t index = add_load(n, VLPC_I64, axis == 0 ? (int64_t[]){1, 0} : (int64_t[]){0, 1});
  uint32_t row = add_load(n, VLPC_F32, axis == 0 ? (int64_t[]){0, 1} : (int64_t[]){60, 0});
  KAccess *a = &n->body[row].load;
  a->n_indirect = 1;
  a->ind[0].row = index;
  a->ind[0].stride = ksize(axis == 0 ? 50 : 1), a->ind[0].size = ksize(12);
  add_op(n, OP_neg, VLPC_F32, row, row);
}

static void test_gather(void **state) {
  (void)state;
  EACH_TARGET(t)
    for (int axis = 0; axis < 2; axis++) {
      Nest n;
      make_gather(&n, axis);
      Kit kit = kit_open(kit_target(t), &n.k, 1);
      int64_t *index = arena_array(kit.arena, int64_t, 64);
      for (int i = 0; i < 64; i++) index[i] = i * 7 % 24 - 12;
      void *operands[3] = {NULL, index, cells(&kit, VLPC_F32, 9, true)};
      check(kit_target(t), &kit, &n, operands, VLPC_F32, axis ? "gather columns" : "gather rows");
      int last = axis == 0 ? 8 : 49;
      index[last] = 12; /* the least that is outside, then the greatest */
      check(kit_target(t), &kit, &n, operands, VLPC_F32, "index too large");
      index[last] = -13;
      check(kit_target(t), &kit, &n, operands, VLPC_F32, "index too small");
      index[last] = 0, index[last + 1] = INT64_MIN; /* past the end: not read */
      check(kit_target(t), &kit, &n, operands, VLPC_F32, "index not used");
      kit_close(&kit);
    }
}

static void test_scatter_repeats(void **state) {
  (void)state;
  EACH_TARGET(t) {
    Nest n;
    nest_init(&n, 2, (int64_t[]){20, 6});
    uint32_t index = add_load(&n, VLPC_I64, (int64_t[]){1, 0});
    add_load(&n, VLPC_F32, (int64_t[]){6, 1});
    KLoops *l = &n.k.loops;
    l->serial = true, l->store.n_indirect = 1, l->store.stride[0] = ksize(0);
    l->store.ind[0].row = index, l->store.ind[0].stride = ksize(6), l->store.ind[0].size = ksize(8);
    Kit kit = kit_open(kit_target(t), &n.k, 1);
    int64_t *at = arena_array(kit.arena, int64_t, 20);
    for (int i = 0; i < 20; i++) at[i] = i * 3 % 8 - (i % 2 ? 8 : 0);
    void *operands[3] = {NULL, at, cells(&kit, VLPC_F32, 10, false)};
    check(kit_target(t), &kit, &n, operands, VLPC_F32, "scatter");
    kit_close(&kit);
  }
}

/* ---- reductions ---------------------------------------------------------- */

static const Layout sums[] = {
    {"rows", 2, {5, 203}, {203, 1}, {0}},
    {"columns", 2, {203, 11}, {1, 203}, {0}},
    {"columns of several", 3, {70, 4, 9}, {1, 630, 70}, {0}},
    {"all", 1, {777}, {1}, {0}},
    {"short", 2, {30, 3}, {3, 1}, {0}},
    {"none to sum", 2, {40, 0}, {1, 1}, {0}},
};

static void check_sum(const char *target, const Layout *l, uint32_t axes, KReduce r, VlDtype d) {
  Nest n;
  nest_init(&n, l->rank, l->size);
  add_load(&n, d, l->a);
  reduce_last(&n, axes, r);
  Kit kit = kit_open(target, &n.k, 1);
  bool special = r >= KR_MAX && r != KR_PROD && l->size[0] != 70;
  void *operands[2] = {NULL, cells(&kit, d, 11, special)};
  if (r == KR_PROD && dtype_is_float(d))
    for (int64_t i = 0; i < OPERAND_BYTES / (int64_t)dtype_size(d); i++)
      dtype_store(d, operands[1], i, 1 + dtype_load(d, operands[1], i) / 64);
  check(target, &kit, &n, operands, r >= KR_ARGMAX ? VLPC_I64 : d, l->what);
  kit_close(&kit);
}

static void test_reductions(void **state) {
  (void)state;
  static const VlDtype some[] = {VLPC_F32, VLPC_F64, VLPC_I64, VLPC_I32, VLPC_BF16};
  EACH_TARGET(t)
    for (size_t i = 0; i < VL_COUNT(sums); i++)
      for (int r = KR_SUM; r <= KR_ARGMAX_LAST; r++)
        for (size_t d = 0; d < VL_COUNT(some); d++) {
          uint32_t axes = sums[i].rank == 3 ? 2 : 1;
          bool empty = sums[i].size[1] == 0 && sums[i].rank == 2;
          if ((empty && r != KR_SUM && r != KR_PROD) || !tried(t, some[d])) continue;
          check_sum(kit_target(t), &sums[i], axes, (KReduce)r, some[d]);
        }
}

/* Σ_k a[i,k]·b[k,j], both ways round. */
static void test_products(void **state) {
  (void)state;
  EACH_TARGET(t)
    for (int transposed = 0; transposed < 2; transposed++) {
      Nest n;
      nest_init(&n, 3, (int64_t[]){11, 75, 40});
      uint32_t a = add_load(&n, VLPC_F32, (int64_t[]){40, 0, 1});
      uint32_t b =
          add_load(&n, VLPC_F32, transposed ? (int64_t[]){0, 40, 1} : (int64_t[]){0, 1, 75});
      add_op(&n, OP_mul, VLPC_F32, a, b);
      reduce_last(&n, 1, KR_SUM);
      Kit kit = kit_open(kit_target(t), &n.k, 1);
      void *operands[3] = {NULL, kit_floats(&kit, 1, OPERAND_BYTES / 4),
                           kit_floats(&kit, 2, OPERAND_BYTES / 4)};
      check(kit_target(t), &kit, &n, operands, VLPC_F32, "product");
      kit_close(&kit);
    }
}

/* ---- damage --------------------------------------------------------------- */

static void test_rows_that_do_not_fit_are_malformed(void **state) {
  (void)state;
  Nest n;
  const int64_t size[] = {4}, stride[] = {1};
  Arena *a = arena_new(0);
  Str faults = {.arena = a};
  nest_init(&n, 1, size);
  uint32_t f = add_load(&n, VLPC_F32, stride), i = add_load(&n, VLPC_I64, stride);
  uint32_t op = add_op(&n, OP_add, VLPC_F32, f, f);
  assert_true(kernel_verify(&n.k, &faults));
  n.body[op].b = i; /* two types */
  assert_false(kernel_verify(&n.k, &faults));
  n.body[op] = (KBody){.kind = KB_OP, .dtype = VLPC_F32, .op = OP_erf, .a = f, .b = 1u << 20};
  assert_true(kernel_verify(&n.k, &faults)); /* erf reads a alone */
  n.body[op].a = i;
  assert_false(kernel_verify(&n.k, &faults));
  arena_free(a);
}

/* Sizes below zero multiply to counts above: such a launch is refused. */
static void test_negative_sizes_fit_no_buffer(void **state) {
  (void)state;
  Nest n;
  const int64_t size[] = {4, 4}, stride[] = {4, 1};
  nest_init(&n, 2, size);
  add_load(&n, VLPC_F32, stride);
  n.k.n_sizes = 2;
  for (int i = 0; i < 2; i++) n.k.loops.size[i] = (KSize){0, i};
  Kit kit = kit_open("portable", &n.k, 1);
  double lo, hi;
  kit_reach(&kit, 0, 0, (int64_t[]){3, 2}, &lo, &hi);
  assert_true(lo == 0 && hi == 40);
  kit_reach(&kit, 0, 0, (int64_t[]){0, 2}, &lo, &hi);
  assert_true(lo == 0 && hi == 0);
  kit_reach(&kit, 0, 0, (int64_t[]){-3, -2}, &lo, &hi);
  assert_true(lo > hi);
  kit_close(&kit);
}

static void test_elements_are_written_once(void **state) {
  (void)state;
  Nest n;
  const int64_t size[] = {1, 4}, stride[] = {0, 1};
  nest_init(&n, 2, size);
  add_load(&n, VLPC_F32, stride);
  n.k.n_sizes = 1;
  n.k.loops.size[0] = (KSize){0, 0}, n.k.loops.store.stride[0] = ksize(0);
  Kit kit = kit_open("portable", &n.k, 1);
  double lo, hi;
  kit_reach(&kit, 0, 0, (int64_t[]){1}, &lo, &hi);
  assert_true(lo == 0 && hi == 16);
  kit_reach(&kit, 0, 0, (int64_t[]){INT64_C(1) << 40}, &lo, &hi);
  assert_true(lo > hi);
  kit_close(&kit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ops),          cmocka_unit_test(test_casts),
      cmocka_unit_test(test_layouts),      cmocka_unit_test(test_slices),
      cmocka_unit_test(test_run_time_sizes), cmocka_unit_test(test_gather),
      cmocka_unit_test(test_scatter_repeats), cmocka_unit_test(test_reductions),
      cmocka_unit_test(test_products),
      cmocka_unit_test(test_rows_that_do_not_fit_are_malformed),
      cmocka_unit_test(test_negative_sizes_fit_no_buffer),
      cmocka_unit_test(test_elements_are_written_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
