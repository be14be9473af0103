/* SPDX-License-Identifier: Apache-2.0 */
/* report_words.c - the tokens that a run's learned rows are nearest to. */
#include "cli/prompt_words.h"
#include "cli/report.h"

static VlStatus add_rows(Cli *c, const Model *m, const LearnedRows *x, Words *out) {
  uint32_t n = VL_MIN(x->n_rows, WORD_ROWS_MAX - out->row.n);
  vlpc_near_token *near = arena_array(c->arena, vlpc_near_token, (size_t)n * WORDS_OF_ROW);
  out->n_rows += x->n_rows;
  if (n == 0) return VLPC_OK;
  VL_TRY(fail_session(c, m, vlpc_nearest_tokens(m->session, x->at, n, x->width, WORDS_OF_ROW,
                                                near)));
  for (uint32_t i = 0; i < n; i++)
    *vec_push(c->arena, &out->row) = (WordRow){x->name, i, near + (size_t)i * WORDS_OF_ROW};
  return VLPC_OK;
}

VlStatus report_read_words(Cli *c, const RunModel *run, Words *out) {
  *out = (Words){.n_rows = 0};
  if (run->m.info.tokenizer == NULL) return VLPC_OK;
  for (const LearnedRows *x = learned_rows(c, &run->m, run->set); x->n_rows > 0; x++)
    VL_TRY(add_rows(c, &run->m, x, out));
  return VLPC_OK;
}
