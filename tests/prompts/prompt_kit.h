/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_kit.h - a written module in the hands of a test: its declaration, its
** trainables with other values, its graph computed. */
#ifndef VLPC_TESTS_PROMPTS_PROMPT_KIT_H
#define VLPC_TESTS_PROMPTS_PROMPT_KIT_H

#include <jansson.h>

#include "base/npz.h"
#include "frontend/frontend.h"
#include "models/models.h"
#include "tests/prompts/prompt_cases.h"

/* Everything that a test makes lies on this arena; the folder is removed with it. */
typedef struct {
  Arena *arena;
  Diag *diag;
  char folder[32];
} Kit;

int kit_open(Kit *k);
int kit_close(Kit *k);
const char *kit_path(const Kit *k, const char *name);

/* Options as the library takes them, for the CLIP of that size. */
PromptOptions kit_inner(Kit *k, const char *size, const vlpc_prompt_options *p);
PromptOptions kit_options(Kit *k, const char *size, const char *text);

/* Writes folder/name.onnx; fails the test when that fails. */
const char *kit_write(Kit *k, const PromptOptions *o, const char *name);
/* The declaration in a module's metadata. */
const json_t *kit_declaration(Kit *k, const char *path);
/* Copies the module to folder/name.onnx with param/… of z as its initializers. */
const char *kit_with_params(Kit *k, const char *path, const Npz *z, const char *name);
/* Elements of the initializers that the declaration lists as learned. */
int64_t kit_count_learned(Kit *k, const char *path);
/* One initializer's elements, *n of them. */
const float *kit_initializer(Kit *k, const char *path, const char *name, uint64_t *n);

/* Every trainable of a module with the value that it starts with, as param/NAME. */
Npz kit_start(Kit *k, const char *path);

/* Tokens of each name, without the full stop behind it, and less rows: i64[classes]. */
NpyArray kit_name_lengths(Arena *a, const NpyArray *tokens, int64_t rows);

/* Runs a file on arrays called prefix/INPUT; output by name afterwards. */
typedef struct {
  Graph *g;
  const RefTensor *out;
} Ran;
Ran kit_run(Kit *k, const char *path, const Npz *z, const char *prefix);
/* Fails unless each output equals prefix/OUTPUT: within 2e-6 of the largest
** element, integers exactly. */
void kit_expect(Kit *k, const Ran *r, const Npz *z, const char *prefix);
void kit_near(const char *what, const RefTensor *got, const NpyArray *want, Arena *a);

#endif
