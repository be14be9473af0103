/* SPDX-License-Identifier: Apache-2.0 */
/* vec.h - a growable array on an arena.
**
**   VEC(Node) nodes = {0};
**   *vec_push(arena, &nodes) = (Node){…};
**   for (uint32_t i = 0; i < nodes.n; i++) use(nodes.at[i]);
**
** Growth moves the elements: hold indices, not pointers, across a push. */
#ifndef VLPC_BASE_VEC_H
#define VLPC_BASE_VEC_H

#include "base/arena.h"

#define VEC(T) \
  struct { \
    T *at; \
    uint32_t n, cap; \
  }

/* Returns the new at pointer with room for one more element. */
void *vec_grow(Arena *a, void *at, uint32_t n, uint32_t *cap, size_t size);

#define vec_push(a, v) \
  ((v)->at = vec_grow((a), (v)->at, (v)->n, &(v)->cap, sizeof *(v)->at), &(v)->at[(v)->n++])

#endif
