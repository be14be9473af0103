/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - an opened artifact: file, program, manifest, tokenizer,
** preprocessing, and the code that its sessions share.
**
** A Model is immutable after model_open but for the list of loaded code, which
** has a lock; it lives as long as one artifact handle or session holds it. */
#ifndef VLPC_RUNTIME_MODEL_H
#define VLPC_RUNTIME_MODEL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/program.h"
#include "runtime/artifact.h"
#include "runtime/code_store.h"
#include "runtime/compiler_lib.h"
#include "runtime/device.h"
#include "runtime/manifest.h"
#include "runtime/preprocess.h"
#include "runtime/tokenizer.h"

typedef struct LoadedCode {
  struct LoadedCode *next;
  const DeviceDriver *driver;
  char asked[DEVICE_TARGET_MAX], target[DEVICE_TARGET_MAX]; /* sealed code may be of a lower one */
  DeviceCode *code;
  CompilerLib lib; /* open when the driver is the compiler library's */
  vlpc_code_origin origin;
  uint64_t code_bytes;
  char code_hash[33]; /* "": the device needs none */
  uint32_t rebuilt;
  int64_t ns; /* time it took */
} LoadedCode;

typedef struct Model {
  atomic_int owners;
  const char *path;
  Arena *arena;
  ArtifactFile file;
  Program program;
  Manifest manifest;
  const char **size_text; /* per size of the program: "2*batch + 1" */
  Tokenizer *tokenizer;  /* NULL: none */
  Preprocess preprocess;
  uint32_t n_classes;
  const char **classes;
  const float *class_features; /* [n_classes, embed] in the mapping; NULL: none */
  vlpc_log_fn *log;
  void *log_user;
  pthread_mutex_t lock; /* of loaded */
  LoadedCode *loaded;
} Model;

VL_MUST_USE VlStatus model_open(const char *path, const vlpc_artifact_options *o, Diag *d,
                                Model **out);
Model *model_share(Model *m);
void model_release(Model *m); /* takes NULL */

/* NULL and a diagnostic that lists the entries when there is none. */
/* Entries that callers see: the first ones, without the one for prompts and the one
** on rows (manifest.h). */
uint32_t model_entries(const Model *m);
const ProgEntry *model_entry(const Model *m, const char *name, Diag *d);
/* Port i of an entry with this name or alias; -1 and a diagnostic otherwise. */
int model_port(const Model *m, const ProgEntry *e, vlpc_direction dir, const char *name, Diag *d);

/* model_code.c: code for the options' device and target; made once, then
** shared.  It stays as long as the model. */
VL_MUST_USE VlStatus model_code(Model *m, const vlpc_session_options *o, Diag *d,
                                const LoadedCode **out);
void model_code_free(LoadedCode *list);

#endif
