/* SPDX-License-Identifier: Apache-2.0 */
/* prompts.h - prompt sets: the tensors of a prompt module's trainables, read
** from a safetensors file and immutable from then on.
**
** Its texts ("__metadata__"):
**   vlpc_prompt   "1"
**   method        name of the method
**   base          hash of the model without prompts, 32 hex digits    may be absent
**   classes       JSON list of the class names trained on             may be absent
**   template      text of a class, "{}" its name                      may be absent */
#ifndef VLPC_RUNTIME_PROMPTS_H
#define VLPC_RUNTIME_PROMPTS_H

#include <stdatomic.h>

#include "base/safetensors.h"
#include "runtime/manifest.h"
#include "vlpc/vlpc.h"

#define PROMPTS_MAX_CLASSES 100000u
#define PROMPTS_MAX_NAME 1024u /* bytes of a class name */

struct vlpc_prompts {
  atomic_int owners;
  Arena *arena;
  Diag *diag;
  bool sound; /* read without an error */
  const char *file;
  Safetensors set;
  const char *method, *base, *pattern;
  uint32_t n_classes;
  const char **classes;
  uint64_t bytes;
};

/* An empty set; NULL: no memory.  With file, set.at and set.text filled, prompts_finish
** reads and checks them (PROMPT_SET). */
vlpc_prompts *prompts_new(void);
VL_MUST_USE VlStatus prompts_finish(vlpc_prompts *p);
vlpc_prompts *prompts_share(vlpc_prompts *p);
/* Holds a set against what an artifact takes.  Fails with PROMPT_FIT. */
VL_MUST_USE VlStatus prompts_fit(const vlpc_prompts *p, const ManifestPrompts *m,
                                 const Program *program, const char *artifact, Diag *d);

#endif
