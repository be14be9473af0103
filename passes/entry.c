/* SPDX-License-Identifier: Apache-2.0 */
/* entry.c - the functions that a lowered graph offers. */
#include "passes/link.h"
#include "passes/pass_int.h"

#include <string.h>

/* The features of a tower, and these at unit length: its own whatever the other
** tower gives to it. */
static bool is_features(const Graph *g, Val v, Val feat) {
  bool is_unit = m_is(g, v, OP_l2norm) && val_eq(ir_in(g, v, 0), feat);
  return val_ok(feat) && (val_eq(v, feat) || is_unit);
}

/* Outputs of entries of their own, which the caller makes. */
static bool is_apart(const char *name) {
  return strcmp(name, LINK_FROZEN_TEXT) == 0 || strcmp(name, LINK_FROZEN_IMAGE) == 0 ||
         strcmp(name, LINK_LOSS) == 0 || strncmp(name, LINK_LOOK, strlen(LINK_LOOK)) == 0 ||
         strncmp(name, PASS_GRAD, strlen(PASS_GRAD)) == 0 ||
         strncmp(name, LINK_STEP, strlen(LINK_STEP)) == 0 ||
         strncmp(name, LINK_NEXT, strlen(LINK_NEXT)) == 0;
}

/* What depends on the tower's inputs (`all`) but on none of `none`. */
static PassEntry tower_entry(const Graph *g, const char *name, uint8_t all, uint8_t none) {
  Arena *a = ir_arena(g);
  uint8_t *depends = tower_depends(g, a);
  const Named *out = NULL;
  uint32_t n_out = ir_outputs(g, &out), n = 0;
  Val feat = ir_point_named(g, all == DEPENDS_IMAGE ? "V.feat" : "T.feat");
  Named *to = arena_array(a, Named, n_out + 1);
  bool has_features = !val_ok(feat);
  for (uint32_t i = 0; i < n_out; i++) {
    uint8_t d = depends[out[i].v.i];
    if (is_apart(out[i].name)) continue;
    if (!is_features(g, out[i].v, feat) && ((d & all) == 0 || (d & none) != 0)) continue;
    has_features = has_features || val_eq(out[i].v, feat);
    to[n++] = out[i];
  }
  const char *features = all == DEPENDS_IMAGE ? "image_features" : "text_features";
  if (!has_features) to[n++] = (Named){features, feat};
  return (PassEntry){.name = name, .out = to, .n_out = n};
}

static bool needs_both(const Graph *g) {
  uint8_t *depends = tower_depends(g, ir_arena(g));
  const Named *out = NULL;
  uint32_t n = ir_outputs(g, &out);
  for (uint32_t i = 0; i < n; i++)
    if ((depends[out[i].v.i] & DEPENDS_IMAGE) && (depends[out[i].v.i] & DEPENDS_TEXT) &&
        !is_apart(out[i].name))
      return true;
  return false;
}

uint32_t pass_entries(const Graph *g, PassEntry out[ENTRY_MAX]) {
  uint32_t n = 0;
  PassEntry image = tower_entry(g, "image", DEPENDS_IMAGE, DEPENDS_TEXT);
  PassEntry text = tower_entry(g, "text", DEPENDS_TEXT, DEPENDS_IMAGE);
  if (image.n_out > 0) out[n++] = image;
  if (text.n_out > 0) out[n++] = text;
  if (n > 0 && !needs_both(g)) return n;
  const Named *all = NULL;
  uint32_t n_all = ir_outputs(g, &all), n_kept = 0;
  Named *kept = arena_array(ir_arena(g), Named, n_all);
  for (uint32_t i = 0; i < n_all; i++)
    if (!is_apart(all[i].name)) kept[n_kept++] = all[i];
  out[n++] = (PassEntry){.name = "model", .out = kept, .n_out = n_kept};
  return n;
}
