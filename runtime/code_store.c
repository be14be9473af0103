/* SPDX-License-Identifier: Apache-2.0 */
/* code_store.c - the sealed list of stored entries, and the way to
** code: sealed, cached, made.  The folder itself is base/cache.h's. */
#include "runtime/code_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "runtime/compiler_lib.h"

#define CODE_KIND "code"

/* ---- one entry ---------------------------------------------------------- */

static void make_key(Section kernels, const char *target, uint8_t out[16]) {
  uint64_t seed = hash_bytes(target, strlen(target), STORED_VERSION);
  Hash128 h = hash_128(kernels.at, (size_t)kernels.bytes, seed);
  memcpy(out, h.at, sizeof h.at);
}

static void fill_found(const uint8_t *entry, const StoredHeader *h, CodeFound *out) {
  out->code = entry + sizeof *h;
  out->code_bytes = h->bytes;
}

/* ---- sealed ------------------------------------------------------------- */

void code_seal(Str *out, Section kernels, const char *target, Section code) {
  static const char zero[STORE_ALIGN];
  uint8_t key[16];
  make_key(kernels, target, key);
  StoredHeader h = stored_header(key, 0, code.at, code.bytes);
  str_addn(out, zero, (size_t)(vl_align_up(out->n, STORE_ALIGN) - out->n));
  str_addn(out, (const char *)&h, sizeof h);
  str_addn(out, (const char *)code.at, (size_t)code.bytes);
}

static bool find_sealed(Section sealed, const uint8_t key[16], CodeFound *out) {
  uint64_t at = 0;
  StoredHeader h;
  while (at < sealed.bytes && stored_check(sealed.at + at, sealed.bytes - at, &h)) {
    if (memcmp(h.key, key, sizeof h.key) == 0) {
      fill_found(sealed.at + at, &h, out);
      out->origin = VLPC_CODE_SEALED;
      return true;
    }
    at = vl_align_up(at + sizeof h + h.bytes, STORE_ALIGN);
  }
  return false;
}

bool code_sealed(const CodeRequest *r, CodeFound *out) {
  uint8_t key[16];
  *out = (CodeFound){0};
  if (!r->trust_sealed) return false;
  make_key(r->kernels, r->target, key);
  return find_sealed(r->sealed, key, out);
}

/* ---- cached ------------------------------------------------------------- */

static void warn(const CodeRequest *r, const char *line) {
  if (r->log) r->log(r->log_user, VLPC_LOG_WARNING, line);
}

/* A sound entry of this key, made by the compiler library that is there now. */
static bool find_cached(const CodeRequest *r, Cache *c, const uint8_t key[16], uint64_t maker,
                        CodeFound *out) {
  uint8_t *bytes = NULL;
  StoredHeader h;
  CacheRead got = cache_read(c, key, &bytes, &h);
  if (got == CACHE_READ && (maker == 0 || h.maker == maker)) {
    out->owned = bytes;
    out->origin = VLPC_CODE_CACHE;
    fill_found(bytes, &h, out);
    return true;
  }
  free(bytes);
  if (got == CACHE_READ) cache_remove(c, key);
  if (got != CACHE_BAD) return false;
  out->rebuilt++;
  warn(r, "a damaged entry of the code cache was removed; the code is made again");
  return false;
}

/* ---- made --------------------------------------------------------------- */

static VlStatus make_entry(Section code, uint64_t maker, const uint8_t key[16], Diag *d,
                           CodeFound *out) {
  StoredHeader h = stored_header(key, maker, code.at, code.bytes);
  uint8_t *at = malloc(sizeof h + (size_t)code.bytes);
  if (!at) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for machine code");
  memcpy(at, &h, sizeof h);
  if (code.bytes) memcpy(at + sizeof h, code.at, (size_t)code.bytes);
  out->owned = at;
  out->origin = VLPC_CODE_MADE;
  fill_found(at, &h, out);
  return VLPC_OK;
}

/* Writes an entry that was made. */
static bool keep(Cache *c, const CodeFound *made) {
  StoredHeader h;
  memcpy(&h, made->owned, sizeof h);
  return cache_write(c, &h, made->code);
}

static VlStatus make_code(const CodeRequest *r, const uint8_t key[16], Diag *d, CodeFound *out) {
  CompilerLib lib;
  CompilerBytes code = {0};
  VlStatus s = compiler_lib_open(r->compiler_library, d, &lib);
  if (s != VLPC_OK) {
    if (r->sealed.bytes && !r->trust_sealed)
      diag_note(d, "%s holds sealed native code; it runs when it is trusted (--trust-native)",
                r->artifact);
    return s;
  }
  EmitCall call = {.kernels = r->kernels.at, .n = (size_t)r->kernels.bytes, .target = r->target,
                   .cache_dir = r->cache_dir,
                   .maker = compiler_lib_identity(r->compiler_library)};
  s = lib.api->emit(&call, d, &code);
  if (s == VLPC_OK) s = make_entry((Section){code.at, code.n}, call.maker, key, d, out);
  lib.api->free_bytes(&code);
  compiler_lib_close(&lib);
  return s;
}

VlStatus code_get(const CodeRequest *r, Diag *d, CodeFound *out) {
  uint8_t key[16];
  Cache cache = CACHE_NONE;
  *out = (CodeFound){0};
  make_key(r->kernels, r->target, key);
  if (r->trust_sealed && find_sealed(r->sealed, key, out)) return VLPC_OK;
  if (r->cache_dir) {
    VL_TRY(cache_open(r->cache_dir, CODE_KIND, d, &cache));
    if (!cache_is_open(&cache)) warn(r, "the code cache folder cannot be made or opened");
  }
  uint64_t maker = compiler_lib_identity(r->compiler_library);
  VlStatus s = VLPC_OK;
  if (!cache_is_open(&cache) || !find_cached(r, &cache, key, maker, out)) {
    s = make_code(r, key, d, out);
    if (s == VLPC_OK && cache_is_open(&cache)) {
      if (!keep(&cache, out))
        warn(r, "the code could not be kept in the cache folder");
    }
  }
  cache_close(&cache);
  return s;
}

void code_release(CodeFound *f) {
  free(f->owned);
  *f = (CodeFound){0};
}

/* ---- what drivers and backends keep --------------------------------------- */

void store_key(const void *at, size_t n, uint8_t out[16]) {
  make_key((Section){at, n}, "driver", out);
}

VlStatus store_find(const char *dir, const uint8_t key[16], uint64_t maker, Diag *d,
                    CodeFound *out) {
  Cache cache = CACHE_NONE;
  CodeRequest quiet = {0};
  *out = (CodeFound){0};
  if (!dir) return VLPC_OK;
  VL_TRY(cache_open(dir, CODE_KIND, d, &cache));
  if (cache_is_open(&cache)) (void)find_cached(&quiet, &cache, key, maker, out);
  cache_close(&cache);
  return VLPC_OK;
}

void store_keep(const char *dir, const uint8_t key[16], uint64_t maker, Section code) {
  Cache cache = CACHE_NONE;
  CodeFound made = {0};
  Diag *quiet = NULL;
  if (!dir || cache_open(dir, CODE_KIND, quiet, &cache) != VLPC_OK) return;
  if (cache_is_open(&cache) && make_entry(code, maker, key, quiet, &made) == VLPC_OK)
    (void)keep(&cache, &made);
  code_release(&made);
  cache_close(&cache);
}
