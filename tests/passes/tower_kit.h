/* SPDX-License-Identifier: Apache-2.0 */
/* tower_kit.h - a tiny CLIP as a graph, with a hook at each stream point: what a
** test does there by hand is what linking must come to. */
#ifndef VLPC_TESTS_PASSES_TOWER_KIT_H
#define VLPC_TESTS_PASSES_TOWER_KIT_H

#include "tests/passes/pass_case.h"

enum { T_WIDTH = 8, T_HEADS = 2, T_BLOCKS = 2, T_ROWS = 5 };
enum { T_CONTEXT = 9, T_VOCAB = 16, T_EMBED = 6 };

typedef Val PointFn(void *ctx, Graph *g, const char *point, Val x);

/* [k, n] of normal numbers. */
Val kit_weights(Graph *g, uint64_t seed, int64_t k, int64_t n);
Val kit_norm(Graph *g, Val x);
Val kit_linear(Graph *g, Val x, uint64_t seed, int64_t n);
/* A block of a transformer of x's width. */
Val kit_block(Graph *g, Val x, uint64_t seed, int64_t heads, bool causal);
/* Inputs image [batch,3,4,4] and text [classes,T_CONTEXT]; outputs image_features,
** text_features, logits_per_image.  at may be NULL. */
Graph *kit_clip(Arena *a, PointFn *at, void *ctx);

/* Runs g on numbers that depend on the inputs' names alone.  Ids end with T_VOCAB - 1;
** their first rows are alike. */
void kit_eval(Graph *g, Arena *a, RefTensor *out);
/* Every output of `want` is one of `got`, by name, with equal numbers. */
void kit_equal(Graph *got, Graph *want, Arena *a);

#endif
