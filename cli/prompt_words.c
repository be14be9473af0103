/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_words.c - vlpc prompt words: what learned rows are nearest to. */
#include "cli/prompt_words.h"

#include <inttypes.h>
#include <string.h>

#include "cli/json.h"
#include "cli/prompt_sets.h"

static bool text_takes(const Model *m, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, "text", VLPC_INPUT, i, &p); i++)
    if (p.of_prompts && strcmp(p.name, name) == 0) return true;
  return false;
}

LearnedRows *learned_rows(Cli *c, const Model *m, const vlpc_prompts *p) {
  vlpc_prompts_info info = {.struct_size = sizeof info};
  vlpc_tensor t;
  const char *name;
  uint32_t n = 0;
  vlpc_prompts_get_info(p, &info);
  LearnedRows *out = arena_array(c->arena, LearnedRows, info.n_tensors + 1u);
  for (uint32_t i = 0; vlpc_prompts_tensor(p, i, &name, &t); i++) {
    uint64_t rows = 1;
    if (t.dtype != VLPC_F32 || t.rank < 2 || !text_takes(m, name)) continue;
    for (int32_t k = 0; k + 1 < t.rank; k++) rows *= (uint64_t)t.shape[k];
    if (rows > 0 && rows <= UINT32_MAX)
      out[n++] = (LearnedRows){name, (uint32_t)rows, (uint32_t)t.shape[t.rank - 1], t.data};
  }
  out[n] = (LearnedRows){.n_rows = 0};
  return out;
}

static void print_row(const LearnedRows *x, uint32_t row, const vlpc_near_token *near,
                      uint32_t n) {
  printf("  %s[%" PRIu32 "] ", x->name, row);
  for (uint32_t i = 0; i < n; i++)
    printf("%s %s %.4f", i > 0 ? "," : "", near[i].text, near[i].distance);
  puts("");
}

static void json_row(Json *j, const LearnedRows *x, uint32_t row, const vlpc_near_token *near,
                     uint32_t n) {
  js_object(j, NULL);
  js_text(j, "trainable", x->name);
  js_int(j, "row", row);
  js_list(j, "nearest");
  for (uint32_t i = 0; i < n; i++) {
    js_object(j, NULL);
    js_text(j, "text", near[i].text);
    js_int(j, "id", near[i].id);
    js_real(j, "distance", near[i].distance);
    js_end(j);
  }
  js_end(j);
  js_end(j);
}

static VlStatus tell(Cli *c, const Model *m, const LearnedRows *x, uint32_t top, Json *j) {
  vlpc_near_token *near = arena_array_bytes(c->arena, x->n_rows, top * sizeof *near);
  VL_TRY(fail_session(c, m, vlpc_nearest_tokens(m->session, x->at, x->n_rows, x->width, top,
                                                near)));
  for (uint32_t i = 0; i < x->n_rows; i++, near += top) {
    if (c->json) json_row(j, x, i, near, top);
    else print_row(x, i, near, top);
  }
  return VLPC_OK;
}

VlStatus prompt_words(Cli *c) {
  Model m;
  vlpc_prompts *p;
  int64_t top;
  VL_TRY(opt_need(c, OPT_for_artifact));
  VL_TRY(opt_int(c, OPT_top, (int64_t[]){1, 1000}, 5, &top));
  VL_TRY(open_fitting(c, opt(c, for_artifact), c->arg[1], &m, &p));
  Json j = js_start(c);
  js_text(&j, "file", c->arg[1]);
  js_list(&j, "rows");
  if (!c->json) printf("%s: tokens nearest to learned rows, and how far they are\n", c->arg[1]);
  for (const LearnedRows *x = learned_rows(c, &m, p); x->n_rows > 0; x++)
    VL_TRY(tell(c, &m, x, (uint32_t)top, &j));
  js_end(&j);
  if (c->json) js_print(&j);
  return VLPC_OK;
}
