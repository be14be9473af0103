/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_cases.h - the settings that goldens exist for: one a line, "name method
** options as the command takes them" (data/cases.txt, data/sized.txt). */
#ifndef VLPC_TESTS_PROMPTS_PROMPT_CASES_H
#define VLPC_TESTS_PROMPTS_PROMPT_CASES_H

#include "base/arena.h"
#include "vlpc/vlpc_compile.h"

typedef struct {
  const char *name;
  vlpc_prompt_options o; /* of model and output nothing is set */
} PromptCase;

/* Fails the test when the file or a line of it is not as it should be. */
uint32_t prompt_cases(Arena *a, const char *path, PromptCase **out);
/* "maple --depth 2 --csc"; a phrase of "-" stands for an empty one. */
vlpc_prompt_options prompt_options(Arena *a, const char *text);

#endif
