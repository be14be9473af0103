/* SPDX-License-Identifier: Apache-2.0 */
/* linked_kit.h - a prompt module through the whole line for a test: linked into a CLIP, run,
** and held against features and scores that the formulas gave. */
#ifndef VLPC_TESTS_PROMPTS_LINKED_KIT_H
#define VLPC_TESTS_PROMPTS_LINKED_KIT_H

#include "base/npz.h"
#include "tests/prompts/prompt_cases.h"

#define LINKED_DATA VLPC_SOURCE_DIR "/tests/prompts/data/"
#define LINKED_NEAR 2e-5

typedef struct {
  const char *clip;   /* ONNX file */
  const char *device; /* NULL: native code */
  const char *passes; /* switches of the compilation; NULL: none */
  Npz inputs;         /* pixels */
  double near;        /* how far results may be apart, of the largest element */
  double scale;       /* of the logits */
} Host;

/* The module that vlpc writes for the case: its path. */
const char *linked_module(const Host *h, const PromptCase *c);
/* The CLIP with the module, compiled: its path, until the next. */
const char *linked_artifact(const Host *h, const char *module);
/* Runs every entry; fails the test where a result is not the golden's.  Parameters are the
** golden's, or the module's own when it has none. */
void linked_run(const Host *h, const PromptCase *c, const char *artifact, const char *module,
                const Npz *golden);
/* Both. */
void linked_case(const Host *h, const PromptCase *c, const char *module, const Npz *golden);

/* CLIP "tiny", which the goldens of data/cases.txt are of. */
Host linked_tiny(const char *device);
Npz linked_golden(const char *name);
/* The arrays of one case out of a file of many, without its name before theirs. */
Npz linked_part(const Npz *all, const char *name);

#endif
