/* SPDX-License-Identifier: Apache-2.0 */
/* keys.h - official checkpoints as prompt sets and back, by the table keys.def. */
#ifndef VLPC_CHECKPOINT_KEYS_H
#define VLPC_CHECKPOINT_KEYS_H

#include "base/safetensors.h"
#include "checkpoint/checkpoint.h"

typedef struct {
  const char *method, *folder, *official, *trainable;
  uint32_t first;
  bool needed;
} KeyRow;

/* Rows of a method, and how many; NULL when there is none of that name. */
const KeyRow *keys_of(const char *method, uint32_t *n);
/* Names of the methods, in the table's order, each once. */
uint32_t keys_methods(Arena *a, const char ***out);
/* Folders of a method, each once. */
uint32_t keys_folders(const char *method, Arena *a, const char ***out);

/* The trainables of a method from one checkpoint for each of its folders, as f32, in
** the order of their keys.  A method of one folder takes its file from anywhere; of
** several, each file must lie in a folder of its name.  Fails with PROMPT_METHOD,
** PROMPT_KEYS and as checkpoint_read. */
VL_MUST_USE VlStatus keys_import(const char *method, const char *const *path, uint32_t n, Arena *a,
                                 Diag *d, Safetensors *out);
/* Writes a prompt set's tensors under their official keys: to path, or where the
** method has several folders to path/FOLDER/model.pth.tar; *files lists them.  Fails
** with PROMPT_METHOD, PROMPT_KEYS, FOLDER and as checkpoint_write. */
VL_MUST_USE VlStatus keys_export(const char *method, const Safetensors *set, const char *file,
                                 const char *path, Arena *a, Diag *d, const char ***files);

#endif
