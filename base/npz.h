/* SPDX-License-Identifier: Apache-2.0 */
/* npz.h - numpy's array files: one array (.npy) or many by name (.npz).
**
** Reading takes versions 1 to 3, little-endian f2 f4 f8, i1 … i8, u1 … u8 and
** bool, C or Fortran order (turned into C order), stored or deflated members.
** Every size in a file is checked against the bytes that are there before
** anything is allocated.  Writing gives version 1, C order, stored members and
** no time stamps, so equal arrays give equal files. */
#ifndef VLPC_BASE_NPZ_H
#define VLPC_BASE_NPZ_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/dtype.h"

typedef struct {
  const char *name; /* member name without ".npy"; NULL in a single .npy */
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  const void *data; /* C order, aligned to 16 bytes */
  uint64_t bytes;
} NpyArray;

typedef struct {
  NpyArray *at;
  uint32_t n;
} Npz;

/* Arrays and their bytes are on the arena.  Errors: OPEN, NOT_REGULAR, READ,
** NPY_BROKEN, NPY_UNSUPPORTED. */
VL_MUST_USE VlStatus npy_read(const char *path, Arena *a, Diag *d, NpyArray *out);
VL_MUST_USE VlStatus npz_read(const char *path, Arena *a, Diag *d, Npz *out);
/* Either kind; a .npy gives one array whose name is NULL. */
VL_MUST_USE VlStatus npz_read_any(const char *path, Arena *a, Diag *d, Npz *out);
const NpyArray *npz_find(const Npz *z, const char *name); /* NULL when absent */

/* bf16 has no numpy name and is refused (NPY_UNSUPPORTED); an .npz member is
** below 4 GiB. */
VL_MUST_USE VlStatus npy_write(const char *path, const NpyArray *x, Arena *a, Diag *d);
VL_MUST_USE VlStatus npz_write(const char *path, const Npz *z, Arena *a, Diag *d);

/* An .npy of f32 [rows, width] whose rows come one after another, their number known
** only at the end; memory does not grow with it, and the bytes are those of npy_write.
** The file appears at npy_rows_commit, which is the last call; without it nothing is
** left when the arena is freed.  Errors: those of io_create and io_write. */
typedef struct NpyRows NpyRows;
VL_MUST_USE VlStatus npy_rows_create(const char *path, uint32_t width, Arena *a, Diag *d,
                                     NpyRows **out);
VL_MUST_USE VlStatus npy_rows_add(NpyRows *r, const float *rows, uint64_t n);
uint64_t npy_rows_count(const NpyRows *r);
VL_MUST_USE VlStatus npy_rows_commit(NpyRows *r);

#endif
