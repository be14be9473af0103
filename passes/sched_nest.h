/* SPDX-License-Identifier: Apache-2.0 */
/* sched_nest.h - building one loop nest (KK_LOOPS): axes, body rows, accesses.
**
** Strides stay symbolic until nest_end, which drops axes of size one and
** merges neighbours that every access walks through without a gap. */
#ifndef VLPC_PASSES_SCHED_NEST_H
#define VLPC_PASSES_SCHED_NEST_H

#include "passes/sched_int.h"

typedef struct {
  Place at; /* buffer and offset */
  DimId stride[VLPC_MAX_RANK];
  uint32_t n_indirect;
  struct {
    uint32_t row;
    DimId stride, size;
  } ind[LOOPS_MAX_INDIRECT];
} NestAccess;

/* axis[i] is the loop axis that walks axis i of a value; -1: none. */
typedef struct {
  int8_t axis[VLPC_MAX_RANK];
} AxisMap;

typedef struct {
  Sched *s;
  Val v; /* the node that is computed */
  uint32_t rank, n_reduce;
  DimId size[VLPC_MAX_RANK];
  KReduce reduce;
  bool serial, uses_index, full;
  uint32_t n_body;
  KBody body[LOOPS_MAX_BODY];
  NestAccess access[LOOPS_MAX_BODY]; /* of KB_LOAD rows, by row */
  struct {
    Val v;
    AxisMap map;
  } made[LOOPS_MAX_BODY]; /* rows that are whole values: computed once */
  NestAccess store;
} Nest;

Nest *nest_begin(Sched *s, Val v);
/* A loop axis; returns its number.  Reduced axes come last. */
int8_t nest_axis(Nest *n, DimId size);
uint32_t nest_op(Nest *n, OpCode op, VlDtype t, uint32_t a, uint32_t b, uint32_t c);
uint32_t nest_literal(Nest *n, VlDtype t, double v);
uint32_t nest_index(Nest *n, uint32_t axis);
uint32_t nest_size(Nest *n, DimId d);
uint32_t nest_load(Nest *n, VlDtype t, const NestAccess *x);
/* The access of a place whose axes are walked as map says. */
NestAccess nest_access(Nest *n, const Place *p, const AxisMap *map);
/* Axes of an operand broadcast to a result that map describes. */
AxisMap nest_broadcast(Nest *n, const AxisMap *result, const Type *rt, const Type *t);
/* The scalar expression of a value: inlined nodes become rows. */
uint32_t nest_value(Nest *n, Val v, const AxisMap *map);
/* Stores the last row and adds the step. */
void nest_end(Nest *n, const NestAccess *store);

#endif
