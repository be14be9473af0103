/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_embed.c - vlpc embed. */
#include <inttypes.h>
#include <string.h>

#include "base/npz.h"
#include "cli/images.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/team.h"

typedef struct {
  Cli *c;
  Team team;
  Model m;
  NpyRows *out; /* NULL: the first process writes */
} Embed;

static VlStatus take(void *user, uint32_t i, const char *path, const float *row) {
  (void)i, (void)path;
  return npy_rows_add(user, row, 1);
}

static VlStatus embed_photos(Embed *e) {
  Cli *c = e->c;
  TextList images = {0};
  VL_TRY(team_agree(&e->team, c, list_images(c, c->arg + 1, c->n_args - 1, &images), NULL));
  ImageWalk w = {.c = c,
                 .model = &e->m,
                 .team = &e->team,
                 .fn = vlpc_embed_images,
                 .width = (uint32_t)e->m.info.embed_dim,
                 .what = "embedded",
                 .take = take,
                 .user = e->out};
  return images_walk(&w, &images);
}

/* The first process alone. */
static VlStatus embed_lines(Embed *e) {
  Cli *c = e->c;
  Texts t;
  int64_t batch;
  if (!e->out) return VLPC_OK;
  VL_TRY(opt_int(c, OPT_batch, (int64_t[]){1, 1024}, 64, &batch));
  VL_TRY(read_lines(c, opt(c, texts), &t));
  float *rows = arena_array_bytes(c->arena, (uint64_t)batch * sizeof *rows, e->m.info.embed_dim);
  for (uint32_t i = 0, n; i < t.n; i += n) {
    VL_TRY(progress_check(c));
    n = (uint32_t)VL_MIN((uint64_t)batch, (uint64_t)(t.n - i));
    VL_TRY(fail_session(c, &e->m, vlpc_embed_texts(e->m.session, t.at + i, n, rows)));
    VL_TRY(npy_rows_add(e->out, rows, n));
    progress_show("embedded", i + n, t.n);
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

static void print_result(Cli *c, uint64_t rows, int32_t width) {
  if (c->json) {
    Json j = js_start(c);
    js_text(&j, "output", opt(c, output_npy));
    js_int(&j, "rows", (int64_t)rows);
    js_int(&j, "width", width);
    js_print(&j);
  } else if (!opt_given(c, quiet)) {
    fprintf(stderr, "vlpc: wrote %s (%" PRIu64 " × %" PRId32 ")\n", opt(c, output_npy), rows,
            width);
  }
}

static VlStatus ready(Embed *e) {
  Cli *c = e->c;
  VL_TRY(model_open(c, c->arg[0], &e->m));
  uint32_t width = (uint32_t)VL_MAX(e->m.info.embed_dim, 0);
  if (e->team.rank > 0) return VLPC_OK;
  return npy_rows_create(opt(c, output_npy), width, c->arena, c->diag, &e->out);
}

static VlStatus finish(Embed *e) {
  if (!e->out) return VLPC_OK;
  uint64_t rows = npy_rows_count(e->out);
  VL_TRY(npy_rows_commit(e->out));
  progress_clear();
  print_result(e->c, rows, e->m.info.embed_dim);
  return VLPC_OK;
}

/* All processes get the same status. */
static VlStatus embed(Embed *e) {
  const Team *t = &e->team;
  VL_TRY(team_agree(t, e->c, ready(e), NULL));
  if (opt_given(e->c, texts)) VL_TRY(team_agree(t, e->c, embed_lines(e), NULL));
  else VL_TRY(embed_photos(e));
  return team_agree(t, e->c, finish(e), NULL);
}

VlStatus cmd_embed(Cli *c) {
  Embed *e = arena_one(c->arena, Embed);
  e->c = c;
  VL_TRY(opt_need(c, OPT_output_npy));
  VL_TRY(check_sources(c));
  VL_TRY(team_start(c, &e->team));
  return embed(e);
}
