/* SPDX-License-Identifier: Apache-2.0 */
/* declaration.h - what a prompt module says of itself (docs/prompt-modules.md):
** JSON in the ONNX file's metadata, or in a file beside it. */
#ifndef VLPC_COMPILER_DECLARATION_H
#define VLPC_COMPILER_DECLARATION_H

#include "base/train_entries.h"
#include "passes/link.h"
#include "runtime/manifest.h"

#define DECLARATION_KEY "vlpc.prompt"
enum { DECLARATION_VERSION = 1, DECLARATION_MAX = 1 << 20, DECLARATION_LIST = 4096 };

typedef struct {
  const char *name;
  ManifestInit init;
  bool class_rows;
  bool fixed; /* comes with a prompt set but is not learned */
} DeclaredTrainable;

typedef struct {
  const char *file; /* beside the module; NULL: none is declared */
  bool per_photo;      /* it, and what takes over, is the mean of the losses of the photos */
  const char *weights; /* of its parts, "text=25 image=10"; NULL: none are stated */
  uint32_t n_taps, n_templates;
  LinkTap *tap;
  const char **templates; /* of a class, of which frozen texts are the mean */
} DeclaredLoss;

typedef struct {
  const char *method;
  uint32_t slot_rows; /* 0: texts have no learned rows */
  SlotPlace place;
  const char *phrase; /* NULL: none */
  uint32_t n_trainables, n_taps, n_writes, n_templates;
  const char **templates; /* of a class; features are averaged over them */
  DeclaredTrainable *trainable;
  LinkTap *tap;
  LinkWrite *write;
  bool lift;
  DeclaredLoss loss[TRAIN_LOSSES]; /* the first, and the one that takes over */
} Declaration;

/* "end", "middle", "front" */
const char *slot_place_name(SlotPlace p);
/* text is hostile and need not be NUL-terminated.  Fails with LINK_SPEC, which names
** the key and what it should be. */
VL_MUST_USE VlStatus declaration_read(const char *text, size_t n, Arena *a, const char *file,
                                      Diag *d, Declaration *out);

#endif
