/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_photos.c - photos that a caller gives, as the train split of a data set. */
#include "base/options.h"
#include "train/trainer_int.h"

static VlStatus check_photos(const vlpc_trainer *t, const vlpc_photos *p) {
  if (p->image && p->label && p->n > 0 && p->n <= DATASET_MAX_ITEMS) return VLPC_OK;
  VlStatus s = diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                          "photos has a wrong struct_size, no images or no labels");
  diag_found(t->diag, "%u photos", p->n);
  diag_expected(t->diag, "1 to %u", DATASET_MAX_ITEMS);
  return s;
}

static VlStatus check_label(const vlpc_trainer *t, uint32_t i, uint32_t label) {
  if (label < t->data.n_classes) return VLPC_OK;
  VlStatus s = diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "photo %u is of no class", i);
  diag_found(t->diag, "class %u", label);
  diag_expected(t->diag, "0 to %u", t->data.n_classes - 1);
  return s;
}

static VlStatus check_image(const vlpc_trainer *t, uint32_t i, const vlpc_image *from,
                            const Image *im) {
  const char *what = NULL;
  if (!from->path && !image_is_sane(im)) what = "neither a path nor pixels of a sane size";
  if (from->prompts) what = "prompts of its own, which learning takes no account of";
  if (!what) return VLPC_OK;
  return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "photo %u has %s", i, what);
}

/* Photo i of p becomes that of the split. */
static VlStatus take_photo(vlpc_trainer *t, const vlpc_photos *p, uint32_t i, Image *im) {
  const vlpc_image *from = &p->image[i];
  *im = (Image){(uint8_t *)(uintptr_t)from->rgb, from->width, from->height};
  VL_TRY(check_label(t, i, p->label[i]));
  VL_TRY(check_image(t, i, from, im));
  Item *to = &t->given.split[SPLIT_train].at[i];
  *to = (Item){.path = from->path, .label = p->label[i], .shard = ITEM_FILE};
  if (from->path) return VLPC_OK;
  to->path = arena_printf(t->call, "photo %u", i);
  to->shard = ITEM_MEMORY;
  to->offset = i, to->bytes = 3 * (uint64_t)im->width * (uint64_t)im->height;
  return VLPC_OK;
}

VlStatus trainer_take(vlpc_trainer *t, const vlpc_photos *photos) {
  vlpc_photos p;
  if (!options_copy(&p, sizeof p, photos)) p.n = 0;
  VL_TRY(check_photos(t, &p));
  t->call = arena_new(0);
  if (!t->call || ARENA_GUARD(t->call))
    return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the photos");
  Image *im = arena_array(t->call, Image, p.n);
  t->given.images = im;
  t->given.split[SPLIT_train] = (ItemList){arena_array(t->call, Item, p.n), p.n};
  for (uint32_t i = 0; i < p.n; i++) VL_TRY(take_photo(t, &p, i, &im[i]));
  return VLPC_OK;
}

void trainer_drop(vlpc_trainer *t) {
  arena_free(t->call);
  t->call = NULL;
  t->given.images = NULL;
  t->given.split[SPLIT_train] = (ItemList){NULL, 0};
}
