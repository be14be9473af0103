/* SPDX-License-Identifier: Apache-2.0 */
/* lc_body.c - see lc_body.h. */
#include "backends/llvm_cpu/lc_body.h"

#include "runtime/code.h"

/* ---- what varies along the axis ------------------------------------------ */

static bool is_const(KSize s, int64_t c) { return s.dyn < 0 && s.c == c; }

static bool indirect_varies(const KAccess *a, const bool varies[]) {
  for (uint32_t i = 0; i < a->n_indirect; i++)
    if (varies[a->ind[i].row]) return true;
  return false;
}

static bool access_varies(const KAccess *a, int axis, const bool varies[]) {
  if (axis < 0) return false;
  return !is_const(a->stride[axis], 0) || indirect_varies(a, varies);
}

static bool row_varies(const KBody *r, int axis, const bool varies[]) {
  switch (r->kind) {
  case KB_LOAD: return access_varies(&r->load, axis, varies);
  case KB_INDEX: return axis >= 0 && r->a == (uint32_t)axis;
  case KB_OP: {
    const uint32_t in[3] = {r->a, r->b, r->c};
    for (uint32_t i = 0; i < op_info(r->op)->min_in; i++)
      if (varies[in[i]]) return true;
    return false;
  }
  case KB_LITERAL:
  case KB_SIZE: return false;
  }
  VL_UNREACHABLE("unknown body row");
}

static void mark_varying(const KLoops *k, int axis, bool varies[]) {
  for (uint32_t i = 0; i < k->n_body; i++) varies[i] = row_varies(&k->body[i], axis, varies);
}

/* Whether lanes need an address each. */
static bool is_scattered(const KAccess *a, int axis, const bool varies[]) {
  if (axis < 0) return false;
  bool plain = is_const(a->stride[axis], 0) || is_const(a->stride[axis], 1);
  return !plain || indirect_varies(a, varies);
}

uint32_t body_cost(const KLoops *k, int axis) {
  bool varies[LOOPS_MAX_BODY];
  mark_varying(k, axis, varies);
  uint32_t cost = 0;
  for (uint32_t i = 0; i < k->n_body; i++)
    if (k->body[i].kind == KB_LOAD) cost += is_scattered(&k->body[i].load, axis, varies);
  bool is_out = (uint32_t)axis < k->rank - k->n_reduce;
  if (is_out && (is_scattered(&k->store, axis, varies) || !is_const(k->store.stride[axis], 1)))
    cost++;
  if (k->size[axis].dyn < 0 && k->size[axis].c < LC_W / 2) cost += 2;
  return cost;
}

/* ---- start --------------------------------------------------------------- */

static void fetch_access(Body *x, uint32_t n, const KAccess *a, uint32_t rank) {
  for (uint32_t i = 0; i < rank; i++) x->stride[n][i] = le_size(x->e, a->stride[i]);
  for (uint32_t i = 0; i < a->n_indirect; i++) {
    x->ind_stride[n][i] = le_size(x->e, a->ind[i].stride);
    x->ind_size[n][i] = le_size(x->e, a->ind[i].size);
  }
}

void body_begin(Body *x, Emit *e, const Kernel *kernel, int axis) {
  const KLoops *k = &kernel->loops;
  VL_CHECK(kernel->n_operands <= BODY_MAX_OPERANDS, "a loop kernel has too many operands");
  *x = (Body){.e = e, .k = k, .axis = axis, .lanes = axis < 0 ? 1 : LC_W};
  for (uint32_t i = 0; i < k->rank; i++) x->size[i] = le_size(e, k->size[i]);
  for (uint32_t i = 0; i < kernel->n_operands; i++) x->operand[i] = le_operand(e, i);
  for (uint32_t i = 0; i < k->n_body; i++) {
    if (k->body[i].kind == KB_LOAD) fetch_access(x, i, &k->body[i].load, k->rank);
    if (k->body[i].kind == KB_SIZE) x->row_size[i] = le_size(e, k->body[i].size);
  }
  fetch_access(x, BODY_STORE, &k->store, k->rank - k->n_reduce);
  mark_varying(k, axis, x->varies);
}

/* ---- addresses ----------------------------------------------------------- */

static uint32_t lanes_of(const Body *x, uint32_t row) { return x->varies[row] ? x->lanes : 1; }

/* A row's value in the lanes that its user works in. */
static Lv in_lanes(const Body *x, uint32_t row, uint32_t lanes, const Lv values[]) {
  Lv v = values[row];
  return lanes > 1 && lanes_of(x, row) == 1 ? lb_splat(&x->e->b, v) : v;
}

/* Stops the kernel when a lane is bad. */
static void fault_if(const Body *x, Lv bad, Lv mask) {
  Lb *b = &x->e->b;
  if (LLVMGetTypeKind(LLVMTypeOf(bad)) == LLVMVectorTypeKind) {
    if (mask) bad = LLVMBuildAnd(b->b, bad, mask, "");
    Lv bits = lb_bits(b, bad, LLVMIntTypeInContext(b->cx, LC_W));
    bad = lb_icmp(b, LLVMIntNE, bits, LLVMConstInt(LLVMTypeOf(bits), 0, 0));
  }
  LLVMBasicBlockRef stop = lb_block(b, "fault"), go = lb_block(b, "inside");
  LLVMBuildCondBr(b->b, bad, stop, go);
  LLVMPositionBuilderAtEnd(b->b, stop);
  LLVMBuildRet(b->b, lb_i32(b, FAULT_INDEX));
  LLVMPositionBuilderAtEnd(b->b, go);
}

/* wrap(index) · stride of indirect part i of access n */
static Lv indirect_part(const Body *x, uint32_t n, const KAccess *a, uint32_t i, Lv mask,
                        const Lv values[]) {
  Lb *b = &x->e->b;
  uint32_t row = a->ind[i].row;
  Lv size = x->ind_size[n][i], stride = x->ind_stride[n][i];
  if (lanes_of(x, row) > 1) size = lb_splat(b, size), stride = lb_splat(b, stride);
  Lv index = ls_to_i64(b, x->k->body[row].dtype, values[row]);
  Lv zero = lb_const_int(b, LLVMTypeOf(index), 0);
  Lv wrapped = lb_select(b, lb_icmp(b, LLVMIntSLT, index, zero), lb_add(b, index, size), index);
  fault_if(x, lb_icmp(b, LLVMIntUGE, wrapped, size), mask);
  return lb_mul(b, wrapped, stride);
}

typedef struct {
  Lv base;  /* address of lane 0, or of all lanes' common part */
  Lv lanes; /* per-lane addresses when scattered, else NULL */
} Place;

/* Where access a, number n of the body, is at for elements of d. */
typedef struct {
  uint32_t n, rank;
  const KAccess *a;
  VlDtype d;
} Access;

static Place place_of(const Body *x, Access at, Lv mask, const Lv values[]) {
  Lb *b = &x->e->b;
  const KAccess *a = at.a;
  uint32_t n = at.n;
  bool scattered = is_scattered(a, x->axis, x->varies);
  int64_t bytes = (int64_t)dtype_size(at.d);
  Lv sum = lb_i64(b, 0), lane_sum = NULL;
  for (uint32_t i = 0; i < at.rank; i++) sum = lb_add(b, sum, lb_mul(b, x->at[i], x->stride[n][i]));
  if (scattered) {
    Lt wide = LLVMVectorType(b->i64, LC_W);
    Lv step = lb_splat(b, x->stride[n][x->axis]);
    lane_sum = lb_mul(b, LLVMBuildSExt(b->b, lb_lanes(b), wide, ""), step);
  }
  for (uint32_t i = 0; i < a->n_indirect; i++) {
    Lv part = indirect_part(x, n, a, i, mask, values);
    if (lanes_of(x, a->ind[i].row) > 1) lane_sum = lb_add(b, lane_sum, part);
    else sum = lb_add(b, sum, part);
  }
  Place p = {.base = lb_at(b, x->operand[a->operand], lb_mulc(b, sum, bytes))};
  if (scattered)
    p.lanes = lb_at(b, p.base, lb_mul(b, lane_sum, lb_const_int(b, LLVMTypeOf(lane_sum), bytes)));
  return p;
}

/* ---- loads and stores ---------------------------------------------------- */

static Lv all_lanes(Lb *b) { return lb_const_int(b, b->vm, 1); }

static Lv load_raw(const Body *x, const Place *p, VlDtype d, Lv mask) {
  Lb *b = &x->e->b;
  Lt raw = ls_raw(b, d, LC_W);
  uint32_t align = (uint32_t)dtype_size(d);
  if (!p->lanes && !mask) return lb_load(b, raw, p->base, align);
  Lt over[2] = {raw, p->lanes ? LLVMTypeOf(p->lanes) : b->ptr};
  Lv arg[4] = {p->lanes ? p->lanes : p->base, lb_i32(b, (int32_t)align), mask ? mask : all_lanes(b),
               LLVMConstNull(raw)};
  return lb_intrinsic(b, p->lanes ? "llvm.masked.gather" : "llvm.masked.load", 2, over, 4, arg);
}

static void store_raw(const Body *x, const Place *p, VlDtype d, Lv raw, Lv mask) {
  Lb *b = &x->e->b;
  uint32_t align = (uint32_t)dtype_size(d);
  if (!p->lanes && !mask) {
    lb_store(b, raw, p->base, align);
    return;
  }
  Lt over[2] = {LLVMTypeOf(raw), p->lanes ? LLVMTypeOf(p->lanes) : b->ptr};
  Lv arg[4] = {raw, p->lanes ? p->lanes : p->base, lb_i32(b, (int32_t)align),
               mask ? mask : all_lanes(b)};
  lb_intrinsic(b, p->lanes ? "llvm.masked.scatter" : "llvm.masked.store", 2, over, 4, arg);
}

static Lv load_row(const Body *x, uint32_t row, Lv mask, const Lv values[]) {
  const KBody *r = &x->k->body[row];
  Place p = place_of(x, (Access){row, x->k->rank, &r->load, r->dtype}, mask, values);
  if (!x->varies[row]) return ls_load_one(&x->e->b, r->dtype, p.base);
  return ls_from_raw(&x->e->b, r->dtype, load_raw(x, &p, r->dtype, mask));
}

static Lv index_row(const Body *x, uint32_t row) {
  Lb *b = &x->e->b;
  uint32_t axis = x->k->body[row].a;
  if (!x->varies[row]) return x->at[axis];
  Lv lanes = LLVMBuildSExt(b->b, lb_lanes(b), LLVMVectorType(b->i64, LC_W), "");
  return lb_add(b, lb_splat(b, x->at[axis]), lanes);
}

static Lv op_row(const Body *x, uint32_t row, const Lv values[]) {
  const KBody *r = &x->k->body[row];
  const uint32_t from[3] = {r->a, r->b, r->c};
  VlDtype in[3] = {0};
  Lv v[3] = {0};
  for (uint32_t i = 0; i < op_info(r->op)->min_in; i++) {
    in[i] = x->k->body[from[i]].dtype;
    v[i] = in_lanes(x, from[i], lanes_of(x, row), values);
  }
  return ls_op(&x->e->b, r->op, in, v, r->dtype);
}

static Lv row_value(const Body *x, uint32_t row, Lv mask, const Lv values[]) {
  const KBody *r = &x->k->body[row];
  Lb *b = &x->e->b;
  switch (r->kind) {
  case KB_LOAD: return load_row(x, row, mask, values);
  case KB_LITERAL:
    return ls_round(b, r->dtype, ls_number(b, ls_type(r->dtype), 1, r->lit, r->lit_i));
  case KB_INDEX: return index_row(x, row);
  case KB_SIZE: return x->row_size[row];
  case KB_OP: return op_row(x, row, values);
  }
  VL_UNREACHABLE("unknown body row");
}

Lv body_value(const Body *x, Lv mask, Lv values[]) {
  for (uint32_t i = 0; i < x->k->n_body; i++) values[i] = row_value(x, i, mask, values);
  return in_lanes(x, x->k->n_body - 1, x->lanes, values);
}

void body_store(const Body *x, VlDtype d, Lv v, Lv mask, const Lv values[]) {
  const KLoops *k = x->k;
  uint32_t rank = k->rank - k->n_reduce;
  Lb *b = &x->e->b;
  bool in_out = x->axis >= 0 && (uint32_t)x->axis < rank;
  if (!in_out) {
    Body one = *x;
    one.axis = -1;
    Place p = place_of(&one, (Access){BODY_STORE, rank, &k->store, d}, NULL, values);
    ls_store_one(b, d, v, p.base);
    return;
  }
  Place p = place_of(x, (Access){BODY_STORE, rank, &k->store, d}, mask, values);
  store_raw(x, &p, d, ls_to_raw(b, d, v), mask);
}
