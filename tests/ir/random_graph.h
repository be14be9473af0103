/* SPDX-License-Identifier: Apache-2.0 */
/* random_graph.h - graphs for property tests, a function of the seed alone.
**
** Inputs "x" f32[batch,4,6], "y" f32[4,6] and "z" f32[batch,1,6]; some forty
** nodes of every kind that has no data faults; three outputs; points; places. */
#ifndef VLPC_TESTS_IR_RANDOM_GRAPH_H
#define VLPC_TESTS_IR_RANDOM_GRAPH_H

#include "ir/ir.h"

typedef enum { RANDOM_FOLDED, RANDOM_EXACT } RandomForm; /* by ir_node, or as they are drawn */
Graph *random_graph(Arena *a, uint64_t seed, RandomForm form);

#endif
