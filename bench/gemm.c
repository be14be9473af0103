/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c - how near the GEMM kernels come to this core's FMA peak, at CLIP's
** shapes.
**
**   bench_gemm [--target avx512] [--seconds 0.3] [--threads 1] [--rows M] [--bf16] [--json]
**
** The peak is measured right before and after each shape, in the same process and on as
** many threads, as the clock moves (cli/peak.c); the higher counts.
** Every shape runs over as many weight matrices as do not fit the caches
** together, as the layers of a model do; the first two lines run on one small
** matrix that stays in cache.  A figure is the median over runs; best is the
** fastest run.  On a busy machine the two drift apart, and the run should be
** repeated. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "backends/llvm_cpu/lc_target.h"
#include "backends/llvm_cpu/llvm_cpu.h"
#include "cli/machine.h"
#include "ir/kernel.h"
#include "runtime/code.h"

enum { MAX_RUNS = 2000, WEIGHT_BYTES = 64 << 20, MAX_THREADS = 64 };

typedef struct {
  const char *target;
  CpuIsa isa; /* of it */
  double seconds; /* per shape */
  int threads;
  int64_t rows; /* only this M; 0: all */
  bool json, bf16;
} Options;

typedef struct {
  int64_t m, k, n;
  KAct act;
  bool residual;
  const char *name;
  bool cached; /* one weight matrix, again and again */
} Shape;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *why) {
  fprintf(stderr, "bench_gemm: %s\n", why);
  exit(1);
}

static void *map_code(const uint8_t *at, size_t n) {
  void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) die("no memory for code");
  memcpy(p, at, n);
  if (mprotect(p, n, PROT_READ | PROT_EXEC) != 0) die("code cannot be made executable");
  return p;
}

/* ---- a shape ------------------------------------------------------------- */

typedef struct {
  KernelRunFn *run;
  int64_t tasks;
  void *operand[5];
  int64_t size[2];
  int64_t begin, end;
} Job;

static void *run_job(void *job) {
  Job *j = job;
  j->run(j->operand, j->size, j->begin, j->end, NULL);
  return NULL;
}

static void run_threads(const Job *j, int threads) {
  Job part[MAX_THREADS];
  pthread_t id[MAX_THREADS];
  for (int i = 0; i < threads; i++) {
    part[i] = *j;
    part[i].begin = j->tasks * i / threads, part[i].end = j->tasks * (i + 1) / threads;
    if (i > 0 && pthread_create(&id[i], NULL, run_job, &part[i]) != 0) die("no threads");
  }
  run_job(&part[0]);
  for (int i = 1; i < threads; i++) pthread_join(id[i], NULL);
}

static float *fill(int64_t n) {
  float *p = aligned_alloc(64, (size_t)(n * 4 + 127) / 64 * 64);
  if (!p) die("no memory");
  for (int64_t i = 0; i < n; i++) p[i] = (float)(i % 251) / 125 - 1;
  return p;
}

/* n bf16 in the room of as many floats. */
static float *fill_bf16(int64_t n) {
  float *p = fill(n);
  for (int64_t i = 0; i < n; i++) dtype_store(VLPC_BF16, p, i, (double)(i % 251) / 125 - 1);
  return p;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

typedef struct {
  double median, best; /* GFLOP/s */
} Speed;

static Speed time_job(Job *j, const Shape *s, const Options *o, float *weights, int64_t copies) {
  static double t[MAX_RUNS];
  int n = 0;
  double end = now() + o->seconds;
  for (int i = 0; n < MAX_RUNS && (i < 5 || now() < end); i++) {
    j->operand[2] = weights + i % copies * s->k * s->n / (o->bf16 ? 2 : 1);
    double start = now();
    run_threads(j, o->threads);
    if (i > 0) t[n++] = now() - start;
  }
  qsort(t, (size_t)n, sizeof *t, by_value);
  double work = 2.0 * (double)s->m * (double)s->k * (double)s->n / 1e9;
  return (Speed){work / t[n / 2], work / t[0]};
}

static Kernel kernel_of(const Shape *s, bool bf16) {
  Kernel k = {.kind = KK_GEMM, .n_operands = 4u + s->residual, .n_sizes = 1};
  bool rounds = bf16 && !s->residual; /* as in a model: the residual stream is f32 */
  k.gemm = (KGemm){.in = bf16 ? NUM_BF16 : NUM_F32,
                   .out = rounds ? NUM_BF16 : NUM_F32,
                   .g = ksize(1),
                   .m = {0, 0},
                   .k = s->k,
                   .n = s->n,
                   .c_m = ksize(s->n),
                   .a_m = ksize(s->k),
                   .r_m = ksize(s->n),
                   .has_bias = true,
                   .has_residual = s->residual,
                   .act = s->act};
  return k;
}

static Speed measure(const Shape *s, const Options *o) {
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  Kernel k = kernel_of(s, o->bf16);
  const uint8_t *code;
  size_t n;
  CodeTarget to = {.name = o->target};
  if (lc_emit((KernelList){&k, 1}, &to, a, d, &code, &n) != VLPC_OK) die(diag_text(d));
  CodeHeader h;
  CodeKernel entry;
  memcpy(&h, code, sizeof h);
  memcpy(&entry, code + sizeof h, sizeof entry);
  char *image = map_code(code + h.image_offset, h.image_bytes);
  Job j = {.size = {s->m}};
  KernelTasksFn *tasks;
  void *at[2] = {image + entry.run, image + entry.tasks};
  memcpy(&j.run, &at[0], sizeof j.run);
  memcpy(&tasks, &at[1], sizeof tasks);
  j.tasks = tasks(j.size);
  int64_t half = o->bf16 ? 2 : 1;
  int64_t copies = s->cached ? 1 : VL_MAX(1, WEIGHT_BYTES * half / 4 / (s->k * s->n));
  float *weights = (o->bf16 ? fill_bf16 : fill)(copies * s->k * s->n);
  j.operand[0] = fill(s->m * s->n), j.operand[3] = fill(s->n);
  j.operand[1] = (o->bf16 ? fill_bf16 : fill)(s->m * s->k), j.operand[4] = fill(s->m * s->n);
  Speed speed = time_job(&j, s, o, weights, copies);
  free(weights);
  for (int i = 0; i < 5; i++)
    if (i != 2) free(j.operand[i]);
  munmap(image, h.image_bytes);
  diag_free(d);
  arena_free(a);
  return speed;
}

/* ---- output -------------------------------------------------------------- */

static void print(const Shape *s, Speed v, double peak, bool json) {
  if (json)
    printf("{\"name\": \"%s\", \"m\": %lld, \"k\": %lld, \"n\": %lld, \"gflops\": %.1f, "
           "\"gflops_best\": %.1f, \"peak\": %.1f, \"share\": %.4f}\n",
           s->name, (long long)s->m, (long long)s->k, (long long)s->n, v.median, v.best, peak,
           v.median / peak);
  else
    printf("%-12s %5lld %5lld %5lld  %8.1f  %5.1f %%  %5.1f %%  %7.1f\n", s->name, (long long)s->m,
           (long long)s->k, (long long)s->n, v.median, 100 * v.median / peak, 100 * v.best / peak,
           peak);
  fflush(stdout);
}

static Options options(int argc, char **argv) {
  Options o = {.seconds = 0.3, .threads = 1};
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(argv[i], "--json") == 0)
      o.json = true;
    else if (strcmp(argv[i], "--target") == 0)
      o.target = value, i++;
    else if (strcmp(argv[i], "--seconds") == 0)
      o.seconds = atof(value), i++;
    else if (strcmp(argv[i], "--threads") == 0)
      o.threads = atoi(value), i++;
    else if (strcmp(argv[i], "--rows") == 0)
      o.rows = atoll(value), i++;
    else if (strcmp(argv[i], "--bf16") == 0)
      o.bf16 = true;
    else
      die("usage: bench_gemm [--target T] [--seconds S] [--threads N] [--rows M] [--bf16] "
          "[--json]");
  }
  if (!o.target) o.target = cpu_isa_name(cpu_isa_for(o.bf16));
  LcTarget target;
  if (!lc_target_parse(o.target, &target)) die("no such target");
  o.isa = target.isa;
  if (o.threads < 1 || o.threads > MAX_THREADS) die("--threads is 1 … 64");
  return o;
}

/* GFLOP/s of as many threads, now. */
static double peak_now(const Options *o) {
  return arithmetic_peak(o->isa, o->bf16, o->threads, 0.02) / 1e9;
}

/* One line of output; the share of the peak. */
static double report(const Shape *s, const Options *o) {
  double before = peak_now(o);
  Speed v = measure(s, o);
  double peak = fmax(before, peak_now(o));
  print(s, v, peak, o->json);
  return v.median / peak;
}

int main(int argc, char **argv) {
  static const int64_t rows[] = {1, 8, 50, 197, 400, 800, 1576}, widths[] = {512, 768};
  Options o = options(argc, argv);
  double log_sum = 0;
  int n = 0;
  if (!o.json)
    printf("%s, %d thread(s), %s\n%-12s %5s %5s %5s  %8s  %7s  %7s  %7s\n", o.target, o.threads,
           cpu_model(), "", "M", "K", "N", "GFLOP/s", "median", "best", "peak");
  /* the micro-kernel by itself: 8-row tiles on one group of panels in cache */
  static const Shape micro[] = {{104, 256, 48, ACT_NONE, false, "in cache", true},
                                {104, 768, 48, ACT_NONE, false, "in cache", true}};
  for (size_t i = 0; i < VL_COUNT(micro); i++) report(&micro[i], &o);
  for (size_t w = 0; w < VL_COUNT(widths); w++)
    for (size_t r = 0; r < VL_COUNT(rows); r++) {
      int64_t m = rows[r], d = widths[w];
      if (o.rows && m != o.rows) continue;
      const Shape shape[] = {{m, d, 3 * d, ACT_NONE, false, "qkv", false},
                             {m, d, d, ACT_NONE, true, "out+res", false},
                             {m, d, 4 * d, ACT_GELU_QUICK, false, "fc1+gelu", false},
                             {m, 4 * d, d, ACT_NONE, true, "fc2+res", false}};
      for (size_t i = 0; i < VL_COUNT(shape); i++) {
        double share = report(&shape[i], &o);
        if (m >= 50) log_sum += log(share), n++;
      }
    }
  if (!o.json && n) printf("geometric mean, M >= 50: %.1f %% of peak\n", 100 * exp(log_sum / n));
  return 0;
}
