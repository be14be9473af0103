/* SPDX-License-Identifier: Apache-2.0 */
/* peak.c - the rate of multiply-adds that this machine reaches.
**
** Each loop keeps 12 vectors (AMX: 6 tiles) in flight, more than latency times units of any
** x86 core, and touches no memory.  This file is compiled with contraction on,
** so that a * b + c is one instruction where the level has it; a level without
** it is counted as the same two operations. */
#include "base/thread.h"
#include "cli/machine.h"

enum { CHAINS = 12, ROUNDS = 20000, PIECES = 64 };

/* A loop over 12 vectors of LANES floats; adds up all lanes, so that none of
** the work can be dropped. */
#define PEAK_LOOP(name, LANES, TARGET)                                                             \
  typedef float name##_v __attribute__((vector_size(LANES * 4)));                                  \
  TARGET static float name(float seed) {                                                           \
    name##_v acc[CHAINS], a = {0}, b = {0}, sum = {0};                                             \
    a += 1.0f - seed * 1e-7f, b += seed * 1e-7f;                                                   \
    for (int i = 0; i < CHAINS; i++) acc[i] = a * (float)(i + 1);                                  \
    for (int r = 0; r < ROUNDS; r++)                                                               \
      _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * a + b;           \
    for (int i = 0; i < CHAINS; i++) sum += acc[i];                                                \
    float total = 0;                                                                               \
    for (int i = 0; i < LANES; i++) total += sum[i];                                               \
    return total;                                                                                  \
  }

PEAK_LOOP(peak_portable, 4, )
#ifdef __x86_64__
#include <immintrin.h>

/* The same with sums of two bf16 products. */
__attribute__((target("avx512f,avx512bf16"))) static float peak_bf16(float seed) {
  __m512 acc[CHAINS], sum = _mm512_setzero_ps();
  __m512bh a = (__m512bh)_mm512_set1_ps(seed), b = (__m512bh)_mm512_set1_ps(1.0f);
  for (int i = 0; i < CHAINS; i++) acc[i] = _mm512_set1_ps((float)i);
  for (int r = 0; r < ROUNDS; r++)
    _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)
      acc[i] = _mm512_dpbf16_ps(acc[i], a, b);
  for (int i = 0; i < CHAINS; i++) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_reduce_add_ps(sum);
}

/* And of AMX: 16 × 16 sums of 32 products an instruction, six of them in flight. */
__attribute__((target("avx512f,amx-tile,amx-bf16"))) static float peak_amx(float seed) {
  _Alignas(64) struct {
    uint8_t palette, zero[15];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  _Alignas(64) float values[16 * 16], sum = 0;
  for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
  for (int i = 0; i < 16 * 16; i++) values[i] = seed;
  _tile_loadconfig(&config);
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define ZERO(t) _tile_zero(t);
#define PRODUCT(t) _tile_dpbf16ps(t, 6, 7);
  EACH(ZERO)
  _tile_loadd(6, values, 64);
  _tile_loadd(7, values, 64);
  for (int r = 0; r < ROUNDS * CHAINS / 6; r++) {
    EACH(PRODUCT)
  }
  _tile_stored(0, values, 64);
  _tile_release();
  for (int i = 0; i < 16 * 16; i++) sum += values[i];
  return sum;
}

PEAK_LOOP(peak_avx2, 8, __attribute__((target("avx2,fma"))))
PEAK_LOOP(peak_avx512, 16, __attribute__((target("avx512f"))))
#endif

typedef struct {
  float (*loop)(float seed);
  int work; /* operations of one instruction */
} Peak;

static const Peak peaks[ISA__COUNT] = {
    [ISA_PORTABLE] = {peak_portable, 8},
#ifdef __x86_64__
    [ISA_AVX2] = {peak_avx2, 16},
    [ISA_AVX512] = {peak_avx512, 32},
    [ISA_AVX512_BF16] = {peak_avx512, 32},
    [ISA_AMX] = {peak_avx512, 32},
#endif
};

/* Of bf16; levels without such products do them as multiply-adds. */
static const Peak bf16_peaks[ISA__COUNT] = {
#ifdef __x86_64__
    [ISA_AVX512_BF16] = {peak_bf16, 64},
    [ISA_AMX] = {peak_amx, 16 * 16 * 64},
#endif
};

static Peak peak_of(CpuIsa isa, bool bf16) {
  if (bf16 && bf16_peaks[isa].loop) return bf16_peaks[isa];
  return peaks[peaks[isa].loop ? isa : ISA_PORTABLE];
}

typedef struct {
  float (*loop)(float seed);
  float out[PIECES];
} Work;

static void do_pieces(void *ctx, int64_t begin, int64_t end, int thread) {
  Work *w = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++) w->out[i % PIECES] = w->loop(1.0f + (float)i);
}

double arithmetic_peak(CpuIsa isa, bool bf16, int threads, double seconds) {
  Peak p = peak_of(isa, bf16);
  Work w = {p.loop, {0}};
  ThreadPool *pool = threads_new(threads, false);
  if (pool == NULL) return 0;
  double flops = (double)p.work * CHAINS * ROUNDS * PIECES, best = 0;
  for (int64_t start = clock_ns(), now = start; (double)(now - start) < seconds * 1e9;) {
    threads_run(pool, PIECES, do_pieces, &w);
    int64_t end = clock_ns();
    best = VL_MAX(best, flops / ((double)(end - now) * 1e-9));
    now = end;
  }
  threads_free(pool);
  return best;
}
