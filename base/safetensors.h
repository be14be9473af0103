/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.h - named tensors in one file, with texts beside them.
**
**   8 bytes   length of the header, little-endian
**   header    JSON: {"__metadata__": {KEY: TEXT, …},
**                    NAME: {"dtype": "F32", "shape": [2, 512],
**                           "data_offsets": [BEGIN, END]}, …}
**   bytes     the tensors one behind the other, without holes
**
** Reading holds a file to every rule of the format: the header is one JSON
** object of UTF-8 without a key twice, each tensor has the bytes that its shape
** and type need, and together they cover the rest of the file exactly.  Writing
** gives one order, that of the format's own library, so equal tensors and texts
** give equal bytes. */
#ifndef VLPC_BASE_SAFETENSORS_H
#define VLPC_BASE_SAFETENSORS_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/dtype.h"

/* Bytes of the longest header that is read; the format allows 100 MB. */
#define SAFETENSORS_MAX_HEADER (4u << 20)

typedef struct {
  const char *name;
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  const void *data; /* row-major, aligned to its element */
  uint64_t bytes;
} SafeTensor;

typedef struct {
  const char *key, *value;
} SafeText;

typedef struct {
  SafeTensor *at; /* in the order of the file */
  uint32_t n;
  SafeText *text; /* "__metadata__" */
  uint32_t n_texts;
} Safetensors;

/* Maps a file; tensors lie in the mapping, which stays as long as the arena.  Fails
** with OPEN, NOT_REGULAR, READ, TOO_LARGE, SAFETENSORS, SAFETENSORS_TYPE. */
VL_MUST_USE VlStatus safetensors_read(const char *path, Arena *a, Diag *d, Safetensors *out);
/* The same for bytes in memory, which must stay as long as the tensors are used.
** file is for messages. */
VL_MUST_USE VlStatus safetensors_parse(const uint8_t *at, uint64_t n, const char *file, Arena *a,
                                       Diag *d, Safetensors *out);
const SafeTensor *safetensors_find(const Safetensors *s, const char *name); /* NULL: none */
const char *safetensors_text(const Safetensors *s, const char *key);        /* NULL: none */

/* safetensors_write.c: names and keys are unique UTF-8.  The file appears whole
** or not at all.  Fails with WRITE, NOT_REGULAR. */
VL_MUST_USE VlStatus safetensors_write(const char *path, const Safetensors *s, Arena *a, Diag *d);
/* The format's word for an element type. */
const char *safetensors_dtype(VlDtype d);

#endif
