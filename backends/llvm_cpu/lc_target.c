/* SPDX-License-Identifier: Apache-2.0 */
/* lc_target.c - see lc_target.h.
**
** What LLVM is told depends on the level alone, never on the machine that
** compiles, so that sealed code is the same wherever it was made. */
#include "backends/llvm_cpu/lc_target.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

#define V2 "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"
#define AVX2 V2 ",+avx,+avx2,+fma,+f16c,+bmi,+bmi2"
#define AVX512 AVX2 ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"
#define BF16 AVX512 ",+avx512bf16"
#define AMX BF16 ",+amx-tile,+amx-bf16"
#define TRIPLE "x86_64-unknown-linux-gnu"
#define BASELINE "x86-64"

static const LcTarget levels[LC__LEVELS] = {
    [LC_PORTABLE] = {.tune = "x86-64-v2", .features = V2, .lanes = 4, .mr = 2, .panels = 1},
    [LC_AVX2] = {.tune = "haswell", .features = AVX2, .lanes = 8, .mr = 6, .panels = 1},
    [LC_AVX512] = {.tune = "znver4", .features = AVX512, .lanes = 16, .mr = 8, .panels = 3},
    [LC_AVX512_BF16] = {.tune = "znver4", .features = BF16, .lanes = 16, .mr = 8, .panels = 3},
    [LC_AMX_BF16] = {.tune = "sapphirerapids", .features = AMX, .lanes = 16, .mr = 8, .panels = 3},
};

typedef struct {
  uint32_t a, b, c, d;
} Leaf;

static Leaf leaf(uint32_t n, uint32_t sub) {
  Leaf l = {0};
  if (__get_cpuid_max(0, NULL) < n) return l;
  __cpuid_count(n, sub, l.a, l.b, l.c, l.d);
  return l;
}

static uint64_t saved_state(void) {
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t)hi << 32 | lo;
}

static bool all(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/* Register state that the system must save: XMM and YMM; opmask and ZMM; tiles. */
enum { STATE_YMM = 0x6, STATE_ZMM = 0xe0, STATE_TILE = 0x60000 };

LcLevel lc_level_here(void) {
  Leaf one = leaf(1, 0), seven = leaf(7, 0), more = leaf(7, 1);
  uint64_t os = all(one.c, 1u << 27) ? saved_state() : 0;
  if ((os & STATE_YMM) != STATE_YMM) return LC_PORTABLE;
  /* fma, avx, f16c; then bmi, avx2, bmi2 */
  if (!all(one.c, 1u << 12 | 1u << 28 | 1u << 29)) return LC_PORTABLE;
  if (!all(seven.b, 1u << 3 | 1u << 5 | 1u << 8)) return LC_PORTABLE;
  /* avx512 f, dq, cd, bw, vl */
  if ((os & STATE_ZMM) != STATE_ZMM) return LC_AVX2;
  if (!all(seven.b, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)) return LC_AVX2;
  if (!all(more.a, 1u << 5)) return LC_AVX512;
  /* amx bf16, tile */
  if ((os & STATE_TILE) != STATE_TILE || !all(seven.d, 1u << 22 | 1u << 24)) return LC_AVX512_BF16;
  return LC_AMX_BF16;
}

#elif defined(__aarch64__)

#define TRIPLE "aarch64-unknown-linux-gnu"
#define BASELINE "generic"
static const LcTarget levels[LC__LEVELS] = {
    [LC_PORTABLE] = {.tune = "neoverse-n1", .features = "+neon,+fp-armv8", .has_fma = true,
                     .has_f16 = true, .lanes = 4, .mr = 6, .panels = 1},
};

LcLevel lc_level_here(void) { return LC_PORTABLE; }

#else
#error "vlpc makes code for x86-64 and AArch64"
#endif

static const char *const names[LC__LEVELS] = {
    [LC_PORTABLE] = "portable",
    [LC_AVX2] = "avx2",
    [LC_AVX512] = "avx512",
    [LC_AVX512_BF16] = "avx512_bf16",
    [LC_AMX_BF16] = "amx_bf16",
};

const char *lc_level_name(LcLevel l) { return names[l]; }

bool lc_level_parse(const char *name, LcLevel *out) {
  for (int i = 0; i < LC__LEVELS; i++) {
    if (strcmp(name, names[i]) != 0 || !levels[i].lanes) continue;
    *out = (LcLevel)i;
    return true;
  }
  return false;
}

LcTarget lc_target(LcLevel l) {
  LcTarget t = levels[l];
  VL_CHECK(t.lanes != 0, "no such level on this architecture");
  t.level = l;
  t.triple = TRIPLE;
  t.cpu = BASELINE;
  t.has_fma |= l >= LC_AVX2;
  t.has_f16 |= l >= LC_AVX2;
  return t;
}
