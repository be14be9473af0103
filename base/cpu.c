/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - asks the processor (CPUID), the system (XGETBV) and the cgroup.
**
** AVX-512 counts only when the system saves its registers; the quota of a
** container counts like missing processors, because threads beyond it only
** take each other's time. */
#include "base/cpu.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

static const char *const isa_names[ISA__COUNT] = {"portable", "avx2", "avx512",
                                                 "avx512bf16", "amx"};

/* ---- processor ---------------------------------------------------------- */

#if defined(__x86_64__)
#include <cpuid.h>

#define ARCH "x86_64"

enum {
  XCR_AVX = 0x6,
  XCR_AVX512 = 0xe6,
  XCR_AMX = 0x60000,
  AVX512_BF16 = 1 << 5, /* leaf 7.1, eax */
  AMX_BF16_TILE = 1 << 22 | 1 << 24, /* leaf 7, edx */
  TILE_DATA = 18 /* of the system's ARCH_REQ_XCOMP_PERM */
};

typedef struct {
  unsigned a, b, c, d;
} Cpuid;

static Cpuid cpuid_sub(unsigned leaf, unsigned sub) {
  Cpuid r = {0};
  if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) r = (Cpuid){0};
  return r;
}

static Cpuid cpuid(unsigned leaf) { return cpuid_sub(leaf, 0); }

/* Register sets that the system saves. */
static unsigned xcr0(void) {
  unsigned lo, hi;
  if (!(cpuid(1).c & bit_OSXSAVE)) return 0;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return lo;
}

static bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }

static bool tiles;
static pthread_once_t tiles_once = PTHREAD_ONCE_INIT;

/* Linux gives a process AMX's registers when it asks (Documentation/arch/x86/xstate.rst). */
static void ask_for_tiles(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023 };
  tiles = has(xcr0(), XCR_AMX) && has(cpuid(7).d, AMX_BF16_TILE) &&
              syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}

CpuIsa cpu_isa_best(void) {
  unsigned saved = xcr0();
  Cpuid one = cpuid(1), seven = cpuid(7);
  bool avx2 = has(saved, XCR_AVX) && has(one.c, bit_AVX | bit_FMA | bit_F16C) &&
              has(seven.b, bit_AVX2);
  bool avx512 = avx2 && has(saved, XCR_AVX512) &&
                has(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
  bool bf16 = avx512 && seven.a >= 1 && has(cpuid_sub(7, 1).a, AVX512_BF16);
  if (bf16) {
    pthread_once(&tiles_once, ask_for_tiles);
    return tiles ? ISA_AMX : ISA_AVX512_BF16;
  }
  return avx512 ? ISA_AVX512 : avx2 ? ISA_AVX2 : ISA_PORTABLE;
}

/* VDPBF16PS takes a Xeon of 2023 as long as four multiply-adds of f32, an EPYC of 2022 as long
** as one. */
static bool has_fast_dots(void) {
  Cpuid vendor = cpuid(0);
  return vendor.b == signature_AMD_ebx && vendor.d == signature_AMD_edx &&
         vendor.c == signature_AMD_ecx;
}

static void read_model(char out[64]) {
  if (cpuid(0x80000000u).a < 0x80000004u) {
    snprintf(out, 64, "%s", ARCH);
    return;
  }
  for (unsigned i = 0; i < 3; i++) {
    Cpuid r = cpuid(0x80000002u + i);
    memcpy(out + 16 * i, &r, 16);
  }
  out[48] = 0;
  size_t n = strlen(out), skip = strspn(out, " ");
  while (n > skip && out[n - 1] == ' ') out[--n] = 0;
  memmove(out, out + skip, n - skip + 1);
}

#else

#if defined(__aarch64__)
#define ARCH "aarch64"
#else
#define ARCH "unknown"
#endif

CpuIsa cpu_isa_best(void) { return ISA_PORTABLE; }

static bool has_fast_dots(void) { return false; }

static void read_model(char out[64]) { snprintf(out, 64, "%s", ARCH); }

#endif

CpuIsa cpu_isa_for(bool bf16) {
  CpuIsa best = cpu_isa_best();
  if (best < ISA_AVX512_BF16 || (bf16 && (best == ISA_AMX || has_fast_dots()))) return best;
  return ISA_AVX512;
}

bool cpu_isa_runs(CpuIsa isa) { return isa <= cpu_isa_best(); }

const char *cpu_isa_name(CpuIsa isa) { return isa_names[isa]; }

bool cpu_isa_parse(const char *name, CpuIsa *out) {
  for (int i = 0; i < ISA__COUNT; i++) {
    if (strcmp(name, isa_names[i]) != 0) continue;
    *out = (CpuIsa)i;
    return true;
  }
  return false;
}

const char *cpu_arch(void) { return ARCH; }

static char model[64];
static pthread_once_t model_once = PTHREAD_ONCE_INIT;
static void model_init(void) { read_model(model); }

const char *cpu_model(void) {
  pthread_once(&model_once, model_init);
  return model;
}

/* ---- system ------------------------------------------------------------- */

/* Text of a small file of the system; false when there is none. */
static bool read_text(const char *path, char *out, size_t cap) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, out, cap - 1);
  close(fd);
  out[n < 0 ? 0 : n] = 0;
  return n > 0;
}

static int quota_count(long quota, long period) {
  return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

/* Processors that the cgroup at path (version 2) allows; 0: no bound. */
static int cgroup_count(const char *path) {
  char file[600], text[64];
  long quota = 0, period = 0;
  snprintf(file, sizeof file, "/sys/fs/cgroup%s/cpu.max", path);
  if (!read_text(file, text, sizeof text)) return 0;
  return sscanf(text, "%ld %ld", &quota, &period) == 2 ? quota_count(quota, period) : 0;
}

/* The least bound of this process's cgroup and those around it. */
static int cgroup_v2_count(void) {
  char text[512];
  int least = 0;
  if (!read_text("/proc/self/cgroup", text, sizeof text)) return 0;
  char *path = strstr(text, "0::");
  if (!path) return 0;
  path += 3;
  path[strcspn(path, "\n")] = 0;
  for (;;) {
    int n = cgroup_count(strcmp(path, "/") == 0 ? "" : path);
    if (n > 0 && (least == 0 || n < least)) least = n;
    char *slash = strrchr(path, '/');
    if (!slash || !path[0]) return least;
    *slash = 0;
  }
}

static int cgroup_v1_count(void) {
  char quota_text[32], period_text[32];
  long quota = 0, period = 0;
  if (!read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota_text, sizeof quota_text) ||
      !read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period_text, sizeof period_text))
    return 0;
  if (sscanf(quota_text, "%ld", &quota) != 1 || sscanf(period_text, "%ld", &period) != 1) return 0;
  return quota_count(quota, period);
}

int cpu_count(void) {
  cpu_set_t allowed;
  int n = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed)
                                                               : (int)sysconf(_SC_NPROCESSORS_ONLN);
  int bound = cgroup_v2_count();
  if (bound == 0) bound = cgroup_v1_count();
  if (bound > 0) n = VL_MIN(n, bound);
  return VL_MAX(n, 1);
}
