/* SPDX-License-Identifier: Apache-2.0 */
/* report_words.c - the tokens that a run's learned rows are nearest to. */
#include <sys/stat.h>

#include "cli/prompt_sets.h"
#include "cli/prompt_words.h"
#include "cli/report.h"

static bool is_there(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

static VlStatus add_rows(Cli *c, const Model *m, const LearnedRows *x, Words *out) {
  for (uint32_t i = 0; i < x->n_rows && out->row.n < WORD_ROWS_MAX; i++) {
    WordRow *row = vec_push(c->arena, &out->row);
    *row = (WordRow){.name = x->name, .row = i};
    VL_TRY(fail_session(c, m, vlpc_nearest_tokens(m->session, x->at + (size_t)i * x->width,
                                                  x->width, WORDS_OF_ROW, row->near)));
  }
  out->n_rows += x->n_rows;
  return VLPC_OK;
}

VlStatus report_read_words(Cli *c, const char *run, Words *out) {
  const char *set = arena_printf(c->arena, "%s/prompts.safetensors", run);
  const char *artifact = opt(c, for_artifact);
  Model m;
  vlpc_prompts *p;
  *out = (Words){.n_rows = 0};
  if (artifact == NULL) artifact = arena_printf(c->arena, "%s/model.vlpc", run);
  if (!is_there(set) || (!opt_given(c, for_artifact) && !is_there(artifact))) return VLPC_OK;
  VL_TRY(model_open(c, artifact, &m));
  VL_TRY(open_prompts(c, set, &p));
  VL_TRY(fail_session(c, &m, vlpc_session_set_prompts(m.session, p))); /* whether it fits */
  if (m.info.tokenizer == NULL) return VLPC_OK;
  for (const LearnedRows *x = learned_rows(c, &m, p); x->n_rows > 0; x++)
    VL_TRY(add_rows(c, &m, x, out));
  return VLPC_OK;
}
