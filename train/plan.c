/* SPDX-License-Identifier: Apache-2.0 */
#include "train/plan.h"

#include <string.h>

#include "train/sample.h"

static VlStatus set_item(Config *c, const char *item, Arena *a, Diag *d) {
  const char *equals = strchr(item, '=');
  size_t n = equals ? (size_t)(equals - item) : strlen(item);
  ConfigItem i = {arena_strndup(a, item, n), equals ? equals + 1 : "", {item, NULL}};
  return config_set(c, &i, a, d);
}

VlStatus plan_config(const PlanSource *s, Arena *a, Diag *d, Config *out) {
  VL_TRY(config_recipe(s->recipe ? s->recipe : s->method, a, d, out));
  if (s->file) VL_TRY(config_read(out, s->file, a, d));
  for (uint32_t i = 0; s->set && s->set[i]; i++) VL_TRY(set_item(out, s->set[i], a, d));
  if (s->method) out->method = s->method;
  return VLPC_OK;
}

static ClassPart part_of(const char *name) {
  for (ClassPart p = CLASSES_base; p <= CLASSES_new; p++)
    if (strcmp(class_part_name(p), name) == 0) return p;
  return CLASSES_all;
}

VlStatus plan_data(const Config *c, const DatasetSource *from, Arena *a, Diag *d, Dataset *out) {
  Dataset all, drawn;
  VL_TRY(dataset_open(from, a, d, &all));
  VL_TRY(sample_dataset(&all, (uint32_t)c->shots, (uint64_t)c->seed, a, d, &drawn));
  return sample_classes(&drawn, part_of(c->classes), a, d, out);
}
