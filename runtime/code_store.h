/* SPDX-License-Identifier: Apache-2.0 */
/* code_store.h - where machine code comes from: sealed in the artifact, a
** private cache on disk, or made now by the compiler library.
**
** An entry is stored as base/cache.h says; its payload is a code file (code.h), its maker
** the compiler library (compiler_lib_identity).  Its key hashes the kernels' bytes and
** the target.  SECTION_code is a list of entries, each at a multiple of 64.
**
** An entry of the cache folder that fails its checks is removed, counted and made again.
** One that another build of the compiler library made counts as absent. */
#ifndef VLPC_RUNTIME_CODE_STORE_H
#define VLPC_RUNTIME_CODE_STORE_H

#include "base/cache.h"
#include "base/str.h"
#include "runtime/artifact.h"
#include "vlpc/vlpc.h"

#define STORE_ALIGN 64u

typedef struct {
  const char *artifact; /* for messages */
  Section kernels, sealed;
  const char *target;
  const char *cache_dir;        /* NULL: none */
  const char *compiler_library; /* NULL: the usual places */
  bool trust_sealed;
  vlpc_log_fn *log; /* may be NULL */
  void *log_user;
} CodeRequest;

typedef struct {
  vlpc_code_origin origin;
  const uint8_t *code;
  uint64_t code_bytes;
  uint32_t rebuilt; /* damaged cache entries removed on the way */
  uint8_t *owned;
} CodeFound;

/* Whether code for the target is sealed and trusted; then it is *out. */
bool code_sealed(const CodeRequest *r, CodeFound *out);
/* Fails with COMPILER_MISSING, COMPILER_VERSION, CACHE_UNSAFE, NOMEM and as the
** compiler does.  A cache that cannot be written is a warning. */
VL_MUST_USE VlStatus code_get(const CodeRequest *r, Diag *d, CodeFound *out);
void code_release(CodeFound *f); /* takes an empty one */

/* The same folder, keys and checks for what a driver or a backend made: store_key hashes
** what it was made from; store_find gives an empty *out when there is none of this maker (0:
** any), or dir is NULL, and fails with CACHE_UNSAFE; store_keep does its best. */
void store_key(const void *at, size_t n, uint8_t out[16]);
VL_MUST_USE VlStatus store_find(const char *dir, const uint8_t key[16], uint64_t maker, Diag *d,
                                CodeFound *out);
void store_keep(const char *dir, const uint8_t key[16], uint64_t maker, Section code);

/* Adds one entry for SECTION_code to the bytes so far. */
void code_seal(Str *out, Section kernels, const char *target, Section code);

#endif
