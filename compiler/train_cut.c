/* SPDX-License-Identifier: Apache-2.0 */
/* train_cut.c - what training need not compute in every step.
**
** in:   the final graph and its entry `train`
** out:  where features of images or texts depend on no trainable, the entries that
**       compute them once, and `train` once more, taking them as inputs:
**   train_images   features of images: of the plain image tower, or of one with
**                  prompts that nothing is learned of
**   train_texts    the same of texts
**   train_step     loss and gradients
** and train2_… for the loss that takes over.
** Only features are cut, f32[batch, embed] and f32[classes, embed]: rows of a stream
** would take more memory than they save time. */
#include "compiler/compiler.h"

#include <string.h>

/* Features of the tower that ends in v are of this type. */
static TypeId features(Graph *g, Val v) { return val_ok(v) ? ir_type_id(g, v) : (TypeId){0}; }

static CutList cut(const Compile *c, const PassEntry *train, BindTime time, const char *of) {
  Cut k = {.at = pass_binding(c->graph, c->a, &c->trainables, BIND_step), .time = time,
           .type = features(c->graph, ir_point_named(c->graph, of)), .late = train, .n_late = 1};
  return k.type.i ? pass_cut(c->graph, c->a, &k) : (CutList){0};
}

static CutList both(const Compile *c, CutList a, CutList b) {
  CutList all = {arena_array(c->a, Named, a.n + b.n), a.n + b.n};
  if (a.n) memcpy(all.at, a.at, a.n * sizeof *a.at);
  if (b.n) memcpy(all.at + a.n, b.at, b.n * sizeof *b.at);
  return all;
}

void compile_cut_training(Compile *c, uint32_t stage, const PassEntry *train) {
  CutList images = cut(c, train, BIND_image, "V.feat");
  CutList texts = cut(c, train, BIND_classes, "T.feat");
  const TrainEntries *of = &train_entries[stage];
  PassEntry step = *train, *to = &c->entry[c->n_entries];
  if (images.n + texts.n == 0) return;
  step.name = of->step;
  step.given = both(c, images, texts);
  *to++ = step;
  if (images.n) *to++ = (PassEntry){.name = of->images, .out = images.at, .n_out = images.n};
  if (texts.n) *to++ = (PassEntry){.name = of->texts, .out = texts.at, .n_out = texts.n};
  c->n_entries = (uint32_t)(to - c->entry);
}
