/* SPDX-License-Identifier: Apache-2.0 */
/* code_store.c - stored entries: their bytes, the sealed list, and the way to
** code: sealed, cached, made.  The folder itself is code_cache.c's. */
#include "runtime/code_store.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/code_cache.h"
#include "runtime/compiler_lib.h"

/* ---- one entry ---------------------------------------------------------- */

static void canonical(XXH128_hash_t h, uint8_t out[16]) {
  XXH128_canonical_t c;
  XXH128_canonicalFromHash(&c, h);
  memcpy(out, c.digest, 16);
}

static void make_key(Section kernels, const char *target, uint8_t out[16]) {
  XXH64_hash_t seed = XXH3_64bits_withSeed(target, strlen(target), STORE_VERSION);
  canonical(XXH3_128bits_withSeed(kernels.at, (size_t)kernels.bytes, seed), out);
}

/* Hash of an entry whose payload follows its header. */
static void entry_hash(const StoreHeader *h, const uint8_t *payload, uint8_t out[16]) {
  XXH64_hash_t seed = XXH3_64bits(h, offsetof(StoreHeader, hash));
  canonical(XXH3_128bits_withSeed(payload, (size_t)h->code_bytes, seed), out);
}

/* Checks the entry at the start of n bytes; *used is its length. */
static bool entry_ok(const uint8_t *at, uint64_t n, StoreHeader *h, uint64_t *used) {
  uint8_t hash[16];
  if (n < sizeof *h) return false;
  memcpy(h, at, sizeof *h);
  if (h->magic != STORE_MAGIC || h->version != STORE_VERSION || h->zero != 0 ||
      h->code_bytes > n - sizeof *h)
    return false;
  entry_hash(h, at + sizeof *h, hash);
  *used = sizeof *h + h->code_bytes;
  return memcmp(hash, h->hash, sizeof hash) == 0;
}

static void fill_found(const uint8_t *entry, const StoreHeader *h, CodeFound *out) {
  out->code = entry + sizeof *h;
  out->code_bytes = h->code_bytes;
}

static StoreHeader new_header(Section code, uint64_t maker, const uint8_t key[16]) {
  StoreHeader h = {.magic = STORE_MAGIC, .version = STORE_VERSION, .code_bytes = code.bytes,
                   .maker = maker};
  memcpy(h.key, key, sizeof h.key);
  return h;
}

/* ---- sealed ------------------------------------------------------------- */

void code_seal(Str *out, Section kernels, const char *target, Section code) {
  static const char zero[STORE_ALIGN];
  uint8_t key[16];
  make_key(kernels, target, key);
  StoreHeader h = new_header(code, 0, key);
  str_addn(out, zero, (size_t)(vl_align_up(out->n, STORE_ALIGN) - out->n));
  size_t at = out->n;
  str_addn(out, (const char *)&h, sizeof h);
  str_addn(out, (const char *)code.at, (size_t)code.bytes);
  entry_hash(&h, (const uint8_t *)out->at + at + sizeof h, h.hash);
  memcpy(out->at + at, &h, sizeof h);
}

static bool find_sealed(Section sealed, const uint8_t key[16], CodeFound *out) {
  uint64_t at = 0, used;
  StoreHeader h;
  while (at < sealed.bytes && entry_ok(sealed.at + at, sealed.bytes - at, &h, &used)) {
    if (memcmp(h.key, key, sizeof h.key) == 0) {
      fill_found(sealed.at + at, &h, out);
      out->origin = VLPC_CODE_SEALED;
      return true;
    }
    at = vl_align_up(at + used, STORE_ALIGN);
  }
  return false;
}

/* ---- cached ------------------------------------------------------------- */

static void warn(const CodeRequest *r, const char *line) {
  if (r->log) r->log(r->log_user, VLPC_LOG_WARNING, line);
}

/* A sound entry of this key, made by the compiler library that is there now. */
static bool find_cached(const CodeRequest *r, CodeCache *c, const uint8_t key[16], uint64_t maker,
                        CodeFound *out) {
  uint8_t *bytes = NULL;
  uint64_t n = 0, used = 0;
  StoreHeader h;
  CacheRead got = code_cache_read(c, key, &bytes, &n);
  if (got == CACHE_ABSENT) return false;
  bool sound = got == CACHE_READ && entry_ok(bytes, n, &h, &used) && used == n &&
               memcmp(h.key, key, sizeof h.key) == 0;
  if (sound && (maker == 0 || h.maker == maker)) {
    out->owned = bytes;
    out->origin = VLPC_CODE_CACHE;
    fill_found(bytes, &h, out);
    return true;
  }
  free(bytes);
  code_cache_remove(c, key);
  if (sound) return false;
  out->rebuilt++;
  warn(r, "a damaged entry of the code cache was removed; the code is made again");
  return false;
}

/* ---- made --------------------------------------------------------------- */

static VlStatus make_entry(Section code, uint64_t maker, const uint8_t key[16], Diag *d,
                           CodeFound *out) {
  StoreHeader h = new_header(code, maker, key);
  uint8_t *at = malloc(sizeof h + (size_t)code.bytes);
  if (!at) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for machine code");
  if (code.bytes) memcpy(at + sizeof h, code.at, (size_t)code.bytes);
  entry_hash(&h, at + sizeof h, h.hash);
  memcpy(at, &h, sizeof h);
  out->owned = at;
  out->origin = VLPC_CODE_MADE;
  fill_found(at, &h, out);
  return VLPC_OK;
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
  s = lib.api->emit(r->kernels.at, (size_t)r->kernels.bytes, r->target, d, &code);
  if (s == VLPC_OK)
    s = make_entry((Section){code.at, code.n}, compiler_lib_identity(r->compiler_library), key, d,
                   out);
  lib.api->free_bytes(&code);
  compiler_lib_close(&lib);
  return s;
}

VlStatus code_get(const CodeRequest *r, Diag *d, CodeFound *out) {
  uint8_t key[16];
  CodeCache cache = CODE_CACHE_NONE;
  *out = (CodeFound){0};
  make_key(r->kernels, r->target, key);
  if (r->trust_sealed && find_sealed(r->sealed, key, out)) return VLPC_OK;
  if (r->cache_dir) {
    VL_TRY(code_cache_open(r->cache_dir, d, &cache));
    if (!code_cache_is_open(&cache)) warn(r, "the code cache folder cannot be made or opened");
  }
  uint64_t maker = compiler_lib_identity(r->compiler_library);
  VlStatus s = VLPC_OK;
  if (!code_cache_is_open(&cache) || !find_cached(r, &cache, key, maker, out)) {
    s = make_code(r, key, d, out);
    if (s == VLPC_OK && code_cache_is_open(&cache)) {
      uint64_t n = sizeof(StoreHeader) + out->code_bytes;
      if (!code_cache_write(&cache, key, out->owned, n))
        warn(r, "the code could not be kept in the cache folder");
    }
  }
  code_cache_close(&cache);
  return s;
}

void code_release(CodeFound *f) {
  free(f->owned);
  *f = (CodeFound){0};
}

/* ---- a driver's own code ------------------------------------------------- */

void store_key(const void *at, size_t n, uint8_t out[16]) {
  make_key((Section){at, n}, "driver", out);
}

VlStatus store_find(const char *dir, const uint8_t key[16], Diag *d, CodeFound *out) {
  CodeCache cache = CODE_CACHE_NONE;
  CodeRequest quiet = {0};
  *out = (CodeFound){0};
  if (!dir) return VLPC_OK;
  VL_TRY(code_cache_open(dir, d, &cache));
  if (code_cache_is_open(&cache)) (void)find_cached(&quiet, &cache, key, 0, out);
  code_cache_close(&cache);
  return VLPC_OK;
}

void store_keep(const char *dir, const uint8_t key[16], Section code) {
  CodeCache cache = CODE_CACHE_NONE;
  CodeFound made = {0};
  Diag *quiet = NULL;
  if (!dir || code_cache_open(dir, quiet, &cache) != VLPC_OK) return;
  if (code_cache_is_open(&cache) && make_entry(code, 0, key, quiet, &made) == VLPC_OK)
    (void)code_cache_write(&cache, key, made.owned, sizeof(StoreHeader) + made.code_bytes);
  code_release(&made);
  code_cache_close(&cache);
}
