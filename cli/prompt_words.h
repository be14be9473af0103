/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_words.h - the tokens that learned rows of texts are nearest to. */
#ifndef VLPC_CLI_PROMPT_WORDS_H
#define VLPC_CLI_PROMPT_WORDS_H

#include "cli/model.h"

typedef struct {
  const char *name; /* the trainable */
  uint32_t n_rows;
  uint32_t width;
  const float *at; /* [n_rows, width] */
} LearnedRows;

/* Trainables of a set that the text entry takes as rows, in the set's order: those that are
** as they are, not computed from others; one of no rows behind the last. */
LearnedRows *learned_rows(Cli *c, const Model *m, const vlpc_prompts *p);
/* vlpc prompt words SET --for A.vlpc */
VL_MUST_USE VlStatus prompt_words(Cli *c);

#endif
