/* SPDX-License-Identifier: Apache-2.0 */
/* lc_target.c - see lc_target.h. */
#include "backends/llvm_cpu/lc_target.h"

#include <string.h>

#if defined(__x86_64__)

#define TRIPLE "x86_64-unknown-linux-gnu"
#define BASELINE "x86-64"
#define V2 "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"
#define AVX2 V2 ",+avx,+avx2,+fma,+f16c,+bmi,+bmi2"
#define AVX512 AVX2 ",+avx512f,+avx512bw,+avx512dq,+avx512vl"
#define AVX512_BF16 AVX512 ",+avx512bf16"
#define AMX AVX512_BF16 ",+amx-tile,+amx-bf16"
#define NAMES "portable, avx2, avx512, avx512bf16 or amx"

static const LcTarget targets[ISA__COUNT] = {
    [ISA_PORTABLE] = {.tune = "x86-64-v2", .features = V2, .lanes = 4, .mr = 2, .panels = 1},
    [ISA_AVX2] = {.tune = "haswell", .features = AVX2, .has_fma = true, .has_f16 = true,
                  .lanes = 8, .mr = 6, .panels = 1},
    [ISA_AVX512] = {.tune = "znver4", .features = AVX512, .has_fma = true, .has_f16 = true,
                    .lanes = 16, .mr = 8, .panels = 3},
    [ISA_AVX512_BF16] = {.tune = "znver4", .features = AVX512_BF16, .has_fma = true,
                         .has_f16 = true, .has_bf16 = true, .has_dot = true, .lanes = 16, .mr = 8,
                         .panels = 3},
    [ISA_AMX] = {.tune = "sapphirerapids", .features = AMX, .has_fma = true, .has_f16 = true,
                 .has_bf16 = true, .has_amx = true, .lanes = 16, .mr = 8, .panels = 3},
};

#elif defined(__aarch64__)

#define TRIPLE "aarch64-unknown-linux-gnu"
#define BASELINE "generic"
#define NAMES "portable"

static const LcTarget targets[ISA__COUNT] = {
    [ISA_PORTABLE] = {.tune = "neoverse-n1", .features = "+neon,+fp-armv8", .has_fma = true,
                      .has_f16 = true, .lanes = 4, .mr = 6, .panels = 1},
};

#else
#error "vlpc makes code for x86-64 and AArch64"
#endif

LcTarget lc_target(CpuIsa isa) {
  LcTarget t = targets[isa];
  VL_CHECK(t.lanes != 0, "no such level on this architecture");
  t.isa = isa;
  t.triple = TRIPLE;
  t.cpu = BASELINE;
  return t;
}

bool lc_target_parse(const char *name, LcTarget *out) {
  size_t n = strlen(cpu_arch());
  if (strncmp(name, cpu_arch(), n) == 0 && name[n] == '-') name += n + 1;
  CpuIsa isa;
  if (!cpu_isa_parse(name, &isa) || !targets[isa].lanes) return false;
  *out = lc_target(isa);
  return true;
}

const char *lc_target_names(void) { return NAMES; }
