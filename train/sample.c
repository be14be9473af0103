/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c - grouping by class, drawing, and the base / new rule. */
#include "train/sample.h"

#include "base/map.h"
#include "base/vec.h"

const char *class_part_name(ClassPart p) {
  return p == CLASSES_base ? "base" : p == CLASSES_new ? "new" : "all";
}

/* Photos of src by class: group g is item[start[g]] … item[start[g + 1] - 1], in
** the order of src; groups in the order of their first photo. */
typedef struct {
  uint32_t *item, *start, n;
} Groups;

static Groups group_items(const ItemList *src, Arena *a) {
  Map *seen = map_new(a);
  Groups g = {arena_array(a, uint32_t, src->n), NULL, 0};
  uint32_t *group = arena_array(a, uint32_t, src->n);
  for (uint32_t i = 0; i < src->n; i++) {
    if (map_get(seen, src->at[i].label, &group[i])) continue;
    map_set(seen, src->at[i].label, group[i] = g.n++);
  }
  g.start = arena_array(a, uint32_t, g.n + 1);
  uint32_t *next = arena_array(a, uint32_t, g.n + 1);
  for (uint32_t i = 0; i < src->n; i++) g.start[group[i] + 1]++;
  for (uint32_t i = 0; i < g.n; i++) next[i + 1] = g.start[i + 1] += g.start[i];
  for (uint32_t i = 0; i < src->n; i++) g.item[next[group[i]]++] = i;
  return g;
}

void sample_few_shot(const ItemList *src, uint32_t shots, Mt *m, Arena *a, ItemList *out) {
  Groups g = group_items(src, a);
  uint32_t *drawn = arena_array(a, uint32_t, shots);
  *out = (ItemList){arena_array(a, Item, src->n), 0};
  for (uint32_t c = 0; c < g.n; c++) {
    const uint32_t *item = g.item + g.start[c], have = g.start[c + 1] - g.start[c];
    bool all = have < shots;
    if (!all) mt_sample(m, have, shots, drawn, a);
    for (uint32_t i = 0; i < (all ? have : shots); i++)
      out->at[out->n++] = src->at[item[all ? i : drawn[i]]];
  }
}

static VlStatus empty(Diag *d, const char *what, const char *fix) {
  VlStatus st = diag_error(d, DIAG_DATA_SPLIT, DIAG_NOWHERE, "%s", what);
  diag_fix(d, "%s", fix);
  return st;
}

VlStatus sample_dataset(const Dataset *in, uint32_t shots, uint64_t seed, Arena *a, Diag *d,
                        Dataset *out) {
  const ItemList *train = &in->split[SPLIT_train], *val = &in->split[SPLIT_val];
  Mt *m = arena_one(a, Mt);
  *out = *in;
  if (train->n == 0)
    return empty(d, "the data set has no photos to train on", "add a train split");
  if (shots == 0) return VLPC_OK;
  mt_seed(m, seed);
  sample_few_shot(train, VL_MIN(shots, train->n + 1), m, a, &out->split[SPLIT_train]);
  sample_few_shot(val, VL_MIN(shots, SAMPLE_VAL_SHOTS), m, a, &out->split[SPLIT_val]);
  return VLPC_OK;
}

/* new_label[old], UINT32_MAX where the class is dropped; counts what is kept. */
static uint32_t *choose_classes(const Dataset *in, ClassPart part, Arena *a, uint32_t *out_n) {
  uint32_t *label = arena_array(a, uint32_t, in->n_classes), present = 0, seen = 0;
  const ItemList *train = &in->split[SPLIT_train];
  for (uint32_t i = 0; i < train->n; i++) label[train->at[i].label] = 1;
  for (uint32_t c = 0; c < in->n_classes; c++) present += label[c];
  uint32_t half = present - present / 2;
  uint32_t lo = part == CLASSES_new ? half : 0, hi = part == CLASSES_base ? half : present;
  for (uint32_t c = 0; c < in->n_classes; c++) {
    bool here = label[c] != 0;
    label[c] = here && seen >= lo && seen < hi ? seen - lo : UINT32_MAX;
    seen += here;
  }
  *out_n = hi - lo;
  return label;
}

VlStatus sample_classes(const Dataset *in, ClassPart part, Arena *a, Diag *d, Dataset *out) {
  *out = *in;
  if (part == CLASSES_all) return VLPC_OK;
  const uint32_t *label = choose_classes(in, part, a, &out->n_classes);
  if (out->n_classes == 0)
    return empty(d, "this part of the classes is empty", "use more classes, or all of them");
  out->classes = arena_array(a, const char *, out->n_classes);
  for (uint32_t c = 0; c < in->n_classes; c++)
    if (label[c] != UINT32_MAX) out->classes[label[c]] = in->classes[c];
  for (int s = 0; s < SPLIT__COUNT; s++) {
    const ItemList *from = &in->split[s];
    ItemList *to = &out->split[s];
    *to = (ItemList){arena_array(a, Item, from->n), 0};
    for (uint32_t i = 0; i < from->n; i++) {
      if (label[from->at[i].label] == UINT32_MAX) continue;
      to->at[to->n] = from->at[i];
      to->at[to->n++].label = label[from->at[i].label];
    }
  }
  return VLPC_OK;
}
