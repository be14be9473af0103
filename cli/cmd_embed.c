/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_embed.c - vlpc embed. */
#include <inttypes.h>
#include <string.h>

#include "base/npz.h"
#include "cli/images.h"
#include "cli/json.h"
#include "cli/progress.h"

typedef struct {
  float *rows;
  uint32_t width, n;
} Rows;

static VlStatus take(void *user, uint32_t i, const char *path, const float *row) {
  Rows *r = user;
  (void)i, (void)path;
  memcpy(r->rows + (size_t)r->n++ * r->width, row, r->width * sizeof *row);
  return VLPC_OK;
}

static VlStatus embed_photos(Cli *c, Model *m, Rows *r) {
  TextList images = {0};
  VL_TRY(list_images(c, c->arg + 1, c->n_args - 1, &images));
  r->rows = arena_array_bytes(c->arena, images.n, r->width * sizeof(float));
  ImageWalk w = {.c = c,
                 .model = m,
                 .fn = vlpc_embed_images,
                 .width = r->width,
                 .what = "embedded",
                 .take = take,
                 .user = r};
  return images_walk(&w, &images);
}

static VlStatus embed_lines(Cli *c, Model *m, Rows *r) {
  Texts t;
  int64_t batch;
  VL_TRY(opt_int(c, OPT_batch, (int64_t[]){1, 1024}, 64, &batch));
  VL_TRY(read_lines(c, opt(c, texts), &t));
  r->rows = arena_array_bytes(c->arena, t.n, r->width * sizeof(float));
  while (r->n < t.n) {
    VL_TRY(progress_check(c));
    uint32_t n = (uint32_t)VL_MIN((uint64_t)batch, (uint64_t)(t.n - r->n));
    VL_TRY(fail_session(
        c, m, vlpc_embed_texts(m->session, t.at + r->n, n, r->rows + (size_t)r->n * r->width)));
    r->n += n;
    progress_show("embedded", r->n, t.n);
  }
  return VLPC_OK;
}

static VlStatus check_sources(Cli *c) {
  if ((c->n_args > 1) != opt_given(c, texts)) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE,
                          c->n_args > 1 ? "photos and --texts exclude each other"
                                        : "there is nothing to embed");
  diag_fix(c->diag, "name photos, a folder of them, or --texts FILE");
  return s;
}

VlStatus cmd_embed(Cli *c) {
  Model m;
  VL_TRY(opt_need(c, OPT_output_npy));
  VL_TRY(check_sources(c));
  VL_TRY(model_open(c, c->arg[0], &m));
  Rows r = {.width = (uint32_t)VL_MAX(m.info.embed_dim, 0)};
  if (opt_given(c, texts))
    VL_TRY(embed_lines(c, &m, &r));
  else
    VL_TRY(embed_photos(c, &m, &r));
  NpyArray x = {.dtype = VLPC_F32,
                .rank = 2,
                .size = {r.n, r.width},
                .data = r.rows,
                .bytes = (uint64_t)r.n * r.width * sizeof(float)};
  VL_TRY(npy_write(opt(c, output_npy), &x, c->arena, c->diag));
  progress_clear();
  if (c->json) {
    Json j = js_start(c);
    js_text(&j, "output", opt(c, output_npy));
    js_int(&j, "rows", r.n);
    js_int(&j, "width", r.width);
    js_print(&j);
  } else if (!opt_given(c, quiet)) {
    fprintf(stderr, "vlpc: wrote %s (%" PRIu32 " × %" PRIu32 ")\n", opt(c, output_npy), r.n,
            r.width);
  }
  return VLPC_OK;
}
