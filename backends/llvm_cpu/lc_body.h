/* SPDX-License-Identifier: Apache-2.0 */
/* lc_body.h - one evaluation of a loop body at a point, or at LC_W neighbouring
** points along one axis.
**
** A row that does not change along that axis is computed once, as a scalar;
** so the row index of an embedding is one load, and the row itself LC_W wide. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_BODY_H
#define VLPC_BACKENDS_LLVM_CPU_LC_BODY_H

#include "backends/llvm_cpu/lc_emit.h"
#include "backends/llvm_cpu/lc_scalar.h"

#define BODY_MAX_OPERANDS 16
#define BODY_STORE LOOPS_MAX_BODY /* access number of the result */

typedef struct {
  Emit *e;
  const KLoops *k;
  int axis;       /* the axis that LC_W lanes run along; -1: none, one lane */
  uint32_t lanes; /* LC_W, or 1 when there is no axis */
  Lv size[VLPC_MAX_RANK];
  Lv at[VLPC_MAX_RANK]; /* the point; of the lanes' axis, lane 0's */
  Lv operand[BODY_MAX_OPERANDS];
  Lv stride[LOOPS_MAX_BODY + 1][VLPC_MAX_RANK]; /* by access: body row or BODY_STORE */
  Lv ind_stride[LOOPS_MAX_BODY + 1][LOOPS_MAX_INDIRECT];
  Lv ind_size[LOOPS_MAX_BODY + 1][LOOPS_MAX_INDIRECT];
  Lv row_size[LOOPS_MAX_BODY]; /* KB_SIZE rows */
  bool varies[LOOPS_MAX_BODY]; /* along the axis */
} Body;

/* Fetches sizes and operands; emits at the start of a run function. */
void body_begin(Body *x, Emit *e, const Kernel *k, int axis);
/* How many accesses cannot be one vector along this axis (fewer is better). */
uint32_t body_cost(const KLoops *k, int axis);

/* The last row at x->at, in lanes; lanes outside the mask (NULL: all are in)
** read nothing and hold anything.  Stops the kernel on an index out of range.
** values[] (LOOPS_MAX_BODY) receives every row for body_store. */
Lv body_value(const Body *x, Lv mask, Lv values[]);
/* Stores v, of dtype d, at the result's place; inside: rows from body_value. */
void body_store(const Body *x, VlDtype d, Lv v, Lv mask, const Lv values[]);

#endif
