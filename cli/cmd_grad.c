/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_grad.c - vlpc grad: loss and gradients of one batch.
**
** The entry "train" computes them.  What it reads besides the arrays given comes from
** other entries: features of texts without learned rows, and, where the texts are
** made of one image (CoCoOp), that image's features; then the images go one by one
** and the results are their mean. */
#include <inttypes.h>
#include <string.h>

#include "base/train_entries.h"
#include "cli/arrays.h"
#include "cli/json.h"

#define FROZEN "frozen_text_features"
#define LIFTED "image_features"

typedef struct {
  Cli *c;
  Model m;
  Npz in; /* of the file, and what was computed; room for INNER more */
} Grad;
enum { INNER = 2 };

static bool reads(const Grad *g, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(g->m.artifact, TRAIN_ENTRY, VLPC_INPUT, i, &p); i++)
    if (strcmp(p.name, name) == 0) return true;
  return false;
}

static void *copied(Cli *c, const void *data, uint64_t n) {
  void *to = arena_alloc(c->arena, n);
  memcpy(to, data, n);
  return to;
}

/* Keeps an output of the entry's last run as an input of later ones. */
static VlStatus keep(Grad *g, const char *entry, const char *name) {
  Npz out;
  VL_TRY(entry_outputs(g->c, &g->m, entry, &out));
  const NpyArray *x = npz_find(&out, name);
  VL_CHECK(x != NULL, "an entry makes what it is for");
  NpyArray *to = &((NpyArray *)(uintptr_t)g->in.at)[g->in.n++];
  *to = *x;
  to->data = copied(g->c, x->data, x->bytes);
  return VLPC_OK;
}

/* ---- texts without learned rows --------------------------------------------- */

static VlStatus no_plain_text(const Grad *g) {
  VlStatus s = diag_error(g->c->diag, DIAG_NOT_COMPARABLE, (DiagAt){opt(g->c, inputs), NULL},
                          "has no texts without learned rows, which the loss compares with");
  diag_expected(g->c->diag, "an array plain_text of token ids, or " FROZEN);
  return s;
}

/* The ids of text serve where the learned rows stand on words. */
static VlStatus add_frozen_text(Grad *g) {
  vlpc_module_info info = {.struct_size = sizeof info};
  if (!reads(g, FROZEN) || npz_find(&g->in, FROZEN) != NULL) return VLPC_OK;
  const NpyArray *x = npz_find(&g->in, "plain_text");
  bool is_plain = vlpc_artifact_module(g->m.artifact, &info) &&
                  (info.slot_rows == 0 || info.slot_phrase != NULL);
  if (x == NULL && is_plain) x = npz_find(&g->in, "text");
  if (x == NULL) return no_plain_text(g);
  NpyArray ids = *x;
  ids.name = "text";
  VL_TRY(run_entry(g->c, &g->m, "frozen_text", &(Npz){&ids, 1}));
  return keep(g, "frozen_text", FROZEN);
}

/* ---- running -------------------------------------------------------------------- */

static bool is_by_image(const char *name) {
  return strcmp(name, "image") == 0 || strcmp(name, "labels") == 0 || strcmp(name, LIFTED) == 0;
}

/* The inputs of image b alone. */
static Npz of_image(const Grad *g, int64_t b) {
  Npz one = {arena_array(g->c->arena, NpyArray, g->in.n), g->in.n};
  for (uint32_t i = 0; i < one.n; i++) {
    NpyArray *x = (NpyArray *)(uintptr_t)&one.at[i];
    *x = g->in.at[i];
    if (!is_by_image(x->name)) continue;
    x->bytes /= (uint64_t)x->size[0];
    x->size[0] = 1;
    x->data = (const uint8_t *)x->data + (uint64_t)b * x->bytes;
  }
  return one;
}

/* sum += part / n, in f32; the first part makes the sum. */
static void add_mean(Cli *c, Npz *sum, const Npz *part, int64_t n) {
  bool is_first = sum->n == 0;
  if (is_first) *sum = (Npz){copied(c, part->at, part->n * sizeof *part->at), part->n};
  for (uint32_t i = 0; i < part->n; i++) {
    uint64_t count = part->at[i].bytes / sizeof(float);
    float *to = (float *)(uintptr_t)sum->at[i].data;
    const float *from = part->at[i].data;
    if (is_first) to = arena_array(c->arena, float, count);
    for (uint64_t k = 0; k < count; k++) to[k] += from[k] / (float)n;
    ((NpyArray *)(uintptr_t)sum->at)[i].data = to;
  }
}

/* Images and labels are as many as each other. */
static VlStatus count_images(const Grad *g, int64_t *n) {
  const NpyArray *image = npz_find(&g->in, "image"), *label = npz_find(&g->in, "labels");
  bool fits = image && label && image->rank > 0 && label->rank == 1 && image->size[0] > 0;
  if (fits) *n = image->size[0];
  if (fits && label->size[0] == *n) return VLPC_OK;
  VlStatus s = diag_error(g->c->diag, DIAG_NOT_COMPARABLE, (DiagAt){opt(g->c, inputs), NULL},
                          "has no image and labels of one number of images");
  diag_expected(g->c->diag, "the arrays image [images, 3, side, side] and labels [images]");
  return s;
}

static VlStatus run_images(Grad *g, Npz *out) {
  int64_t n = 0;
  VL_TRY(count_images(g, &n));
  VL_TRY(run_entry(g->c, &g->m, "image", &g->in));
  VL_TRY(keep(g, "image", LIFTED));
  *out = (Npz){NULL, 0};
  for (int64_t b = 0; b < n; b++) {
    Npz one = of_image(g, b), part;
    VL_TRY(run_entry(g->c, &g->m, TRAIN_ENTRY, &one));
    VL_TRY(entry_outputs(g->c, &g->m, TRAIN_ENTRY, &part));
    add_mean(g->c, out, &part, n);
  }
  return VLPC_OK;
}

/* ---- the command ------------------------------------------------------------------ */

static VlStatus open_all(Grad *g) {
  Cli *c = g->c;
  Npz in;
  vlpc_port p = {.struct_size = sizeof p};
  VL_TRY(npz_read(opt(c, inputs), c->arena, c->diag, &in));
  NpyArray *at = arena_array(c->arena, NpyArray, in.n + INNER);
  if (in.n) memcpy(at, in.at, in.n * sizeof *at);
  g->in = (Npz){at, in.n};
  VL_TRY(model_open(c, c->arg[0], &g->m));
  if (vlpc_artifact_port(g->m.artifact, TRAIN_ENTRY, VLPC_OUTPUT, 0, &p)) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_TRAIN_MODULE, (DiagAt){c->arg[0], NULL},
                          "the artifact has no entry that computes gradients");
  diag_fix(c->diag, "compile it with --prompt MODULE.onnx --train");
  return s;
}

static VlStatus run_batch(Grad *g, Npz *out) {
  VL_TRY(add_frozen_text(g));
  if (reads(g, LIFTED)) return run_images(g, out);
  VL_TRY(run_entry(g->c, &g->m, TRAIN_ENTRY, &g->in));
  return entry_outputs(g->c, &g->m, TRAIN_ENTRY, out);
}

static void print_loss(Cli *c, const Npz *out) {
  double loss = (double)*(const float *)npz_find(out, "loss")->data;
  if (c->json) {
    Json j = js_start(c);
    js_real(&j, "loss", loss);
    js_int(&j, "gradients", out->n - 1);
    js_text(&j, "output", opt(c, output_npz));
    js_print(&j);
    return;
  }
  printf("loss %.6f\n", loss);
  if (opt_given(c, quiet)) return;
  fprintf(stderr, "vlpc: wrote %s (%" PRIu32 " gradients)\n", opt(c, output_npz), out->n - 1);
}

VlStatus cmd_grad(Cli *c) {
  Grad g = {.c = c};
  Npz out;
  VL_TRY(opt_need(c, OPT_inputs));
  VL_TRY(opt_need(c, OPT_output_npz));
  VL_TRY(open_all(&g));
  VL_TRY(run_batch(&g, &out));
  VL_TRY(npz_write(opt(c, output_npz), &out, c->arena, c->diag));
  print_loss(c, &out);
  return VLPC_OK;
}
