/* SPDX-License-Identifier: Apache-2.0 */
/* train_chunks.c - a step whose texts run some classes at a time, in the least memory.
**
** in:   the loss on packed rows, which texts reach by their features alone
** out:  three entries that the runtime makes one of (runtime/chunks.c):
**   train_ahead    features of the texts of some classes
**   train_chunks   loss and gradients from features of all, and the gradient of these
**   train_back     gradients of the trainables from that of the features of some classes
** The first and the last are for all steps; train_step_chunks, train2_… are as the second. */
#include "compiler/compiler.h"

#include <string.h>

#define HEAD LINK_STEP "chunks."
#define AHEAD LINK_STEP "ahead." CHUNK_FEATURES
#define BACK LINK_STEP "back."

/* Once for all stages. */
static VlStatus add_parts(Compile *c, const GradSpec *of, Val sum) {
  GradSpec back = *of;
  Graph *ignored = NULL;
  if (val_ok(ir_output_named(c->graph, AHEAD))) return VLPC_OK;
  ir_output(c->graph, AHEAD, c->text_features);
  back.loss = sum, back.prefix = BACK PASS_GRAD;
  return pass_grad(c->graph, &back, c->d, &ignored);
}

VlStatus compile_chunks(Compile *c, uint32_t stage, const GradSpec *of) {
  Graph *g = c->graph, *ignored = NULL;
  GradSpec head = *of;
  TextChunks chunks;
  if (!val_ok(c->text_features) || !pass_text_chunks(g, of->loss, c->text_features, &chunks))
    return VLPC_OK;
  Named *to = arena_array(c->a, Named, of->n + 1);
  memcpy(to, of->of, of->n * sizeof *to);
  to[of->n] = (Named){CHUNK_FEATURES, chunks.given};
  head.of = to, head.n = of->n + 1;
  head.loss = chunks.loss, head.keep = GRAD_KEEP_sums, head.time = ++c->n_grads;
  head.prefix = compile_prefix(c, stage, HEAD PASS_GRAD);
  ir_output(g, compile_prefix(c, stage, HEAD LINK_LOSS), chunks.loss);
  VL_TRY(pass_grad(g, &head, c->d, &ignored));
  return add_parts(c, of, chunks.sum);
}

/* ---- entries ------------------------------------------------------------------------ */

static PassEntry ahead_entry(const Compile *c) {
  Named *out = arena_one(c->a, Named);
  *out = (Named){CHUNK_FEATURES, ir_output_named(c->graph, AHEAD)};
  return (PassEntry){.name = CHUNKS_AHEAD, .out = out, .n_out = 1, .chunks = CHUNKS_ahead};
}

static bool has_output(const PassEntry *e, const char *name) {
  for (uint32_t i = 0; i < e->n_out; i++)
    if (strcmp(e->out[i].name, name) == 0) return true;
  return false;
}

bool compile_chunks_entry(const Compile *c, uint32_t stage, const PassEntry *e,
                          const char *before, PassEntry *out) {
  *out = (PassEntry){.name = arena_printf(c->a, "%s_chunks", e->name), .given = e->given,
                     .lean_of = before, .chunks = CHUNKS_head};
  if (!compile_step_entry(c, stage, HEAD, out)) return false;
  PassEntry ahead = ahead_entry(c);
  return has_output(out, PASS_GRAD CHUNK_FEATURES) && !pass_reads_texts(c->graph, out) &&
         !pass_reads_images(c->graph, &ahead);
}

uint32_t compile_chunks_parts(const Compile *c, PassEntry *out) {
  out[0] = ahead_entry(c);
  out[1] = (PassEntry){.name = CHUNKS_BACK, .chunks = CHUNKS_back};
  VL_CHECK(compile_step_entry(c, 0, BACK, &out[1]), "what is learned of texts has gradients");
  return 2;
}
