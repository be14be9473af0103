/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_bench.c - vlpc bench.
**
** Order: open (load_ms), first run (first_ms), warm-up, one observed run (per
** kernel, operations), timed runs, then the machine's peak with as many
** threads.  With --train the entry is a step of training: loss and gradients of one
** batch. */
#include "cli/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/thread.h"
#include "base/train_entries.h"
#include "cli/json.h"
#include "cli/machine.h"
#include "cli/model.h"
#include "cli/plan.h"
#include "cli/progress.h"

typedef struct {
  Cli *c;
  Model m;
  BenchSpec spec;
  int64_t iters;
  double seconds;
  BenchRun run; /* the observed run */
  Plans plans;  /* of a step of training */
  double load_ms, first_ms, best_ms, median_ms, p95_ms;
  uint32_t n_runs;
  double peak; /* FLOP/s */
  vlpc_session_info session;
} Bench;

/* --- timing --- */

static VlStatus run_once(Bench *b, double *out_ms) {
  int64_t start = clock_ns();
  VL_TRY(progress_check(b->c));
  VL_TRY(fail_session(b->c, &b->m, vlpc_session_run(b->m.session, b->spec.entry)));
  *out_ms = (double)(clock_ns() - start) * 1e-6;
  return VLPC_OK;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static VlStatus time_runs(Bench *b) {
  VEC(double) ms = {0};
  int64_t start = clock_ns();
  for (double spent = 0;;) {
    double once;
    VL_TRY(run_once(b, &once));
    *vec_push(b->c->arena, &ms) = once;
    spent = (double)(clock_ns() - start) * 1e-9;
    progress_show("timed runs", ms.n, (uint64_t)b->iters);
    if (b->iters > 0 ? ms.n >= b->iters : spent >= b->seconds && ms.n >= 5) break;
  }
  qsort(ms.at, ms.n, sizeof *ms.at, by_size);
  b->n_runs = ms.n;
  b->best_ms = ms.at[0];
  b->median_ms = ms.n % 2 != 0 ? ms.at[ms.n / 2] : (ms.at[ms.n / 2 - 1] + ms.at[ms.n / 2]) / 2;
  b->p95_ms = ms.at[(uint32_t)ceil(0.95 * ms.n) - 1];
  return VLPC_OK;
}

static VlStatus warm_up(Bench *b) {
  double ms, spent = 0;
  for (int i = 0; i < 20 && (i < 2 || spent < 300); i++, spent += ms) VL_TRY(run_once(b, &ms));
  return VLPC_OK;
}

static bool is_bf16(const Bench *b) {
  return strcmp(b->m.info.precision, "bf16") == 0;
}

/* Of this processor; another device's is not known. */
static double measured_peak(const Bench *b) {
  if (strcmp(b->session.device, "opencl") == 0) return 0;
  return arithmetic_peak(cpu_isa_for(is_bf16(b)), is_bf16(b), VL_MAX(b->session.threads, 1), 0.3);
}

static VlStatus measure(Bench *b) {
  VL_TRY(bench_set_inputs(b->c, &b->m, &b->spec));
  if (b->spec.trains) VL_TRY(plans_read(b->c, &b->m, b->spec.entry, &b->plans));
  VL_TRY(run_once(b, &b->first_ms));
  VL_TRY(warm_up(b));
  VL_TRY(bench_observe(b->c, &b->m, b->spec.entry, &b->run));
  VL_TRY(time_runs(b));
  b->session.struct_size = sizeof b->session;
  vlpc_session_get_info(b->m.session, &b->session);
  b->peak = measured_peak(b);
  return VLPC_OK;
}

/* --- result --- */

static double gflops(const Bench *b) {
  return b->run.flops > 0 ? (double)b->run.flops / (b->best_ms * 1e6) : NAN;
}
static double peak_fraction(const Bench *b) {
  return b->peak > 0 ? gflops(b) * 1e9 / b->peak : NAN;
}
static const char *origin(vlpc_code_origin o) {
  static const char *const name[] = {"none", "made", "cache", "sealed"};
  return name[(unsigned)o < VL_COUNT(name) ? o : 0];
}

static double kernel_gflops(const BenchKernel *k) {
  return k->ns > 0 ? (double)k->flops / (double)k->ns : NAN;
}

static void print_kernels_json(const Bench *b, Json *j) {
  js_list(j, "kernels");
  for (uint32_t i = 0; i < b->run.n_kernels; i++) {
    const BenchKernel *k = &b->run.kernel[i];
    js_object(j, NULL);
    js_text(j, "kernel", k->text);
    js_int(j, "steps", k->steps);
    js_real(j, "ms", (double)k->ns * 1e-6);
    js_int(j, "flops", k->flops);
    js_real(j, "gflops", kernel_gflops(k));
    js_real(j, "peak_fraction", b->peak > 0 ? kernel_gflops(k) * 1e9 / b->peak : NAN);
    js_end(j);
  }
  js_end(j);
}

static void print_json(const Bench *b) {
  Json j = js_start(b->c);
  js_text(&j, "version", vlpc_version());
  js_text(&j, "artifact", b->c->arg[0]);
  js_text(&j, "entry", b->spec.entry);
  js_text(&j, "precision", b->m.info.precision);
  js_int(&j, "batch", b->spec.batch);
  if (b->spec.classes > 0) js_int(&j, "classes", b->spec.classes);
  js_int(&j, "threads", b->session.threads);
  js_text(&j, "device", b->session.device);
  js_text(&j, "target", b->session.target);
  js_text(&j, "cpu", cpu_model());
  js_int(&j, "runs", b->n_runs);
  js_real(&j, "best_ms", b->best_ms);
  js_real(&j, "median_ms", b->median_ms);
  js_real(&j, "p95_ms", b->p95_ms);
  js_int(&j, "flops", b->run.flops);
  js_real(&j, "gflops", gflops(b));
  js_real(&j, "peak_gflops", b->peak * 1e-9);
  js_real(&j, "peak_fraction", peak_fraction(b));
  js_real(&j, "load_ms", b->load_ms);
  js_real(&j, "first_ms", b->first_ms);
  js_text(&j, "code", origin(b->session.code));
  js_int(&j, "peak_rss_bytes", (int64_t)memory_peak());
  js_int(&j, "private_bytes", (int64_t)memory_private());
  js_int(&j, "weight_bytes", (int64_t)b->m.info.weight_bytes);
  js_int(&j, "activation_bytes", (int64_t)b->session.activation_bytes);
  js_int(&j, "code_bytes", (int64_t)b->session.code_bytes);
  js_int(&j, "bytes",
         (int64_t)(b->m.info.weight_bytes + b->session.activation_bytes + b->session.code_bytes));
  if (b->plans.n > 0) plans_json(&b->plans, &j);
  if (opt_given(b->c, per_kernel)) print_kernels_json(b, &j);
  js_print(&j);
}

static void print_kernels(const Bench *b) {
  int64_t all = 1;
  for (uint32_t i = 0; i < b->run.n_kernels; i++) all += b->run.kernel[i].ns;
  printf("\n%8s %6s %6s %9s %7s  %s\n", "ms", "share", "steps", "GFLOP/s", "of peak", "kernel");
  for (uint32_t i = 0; i < b->run.n_kernels; i++) {
    const BenchKernel *k = &b->run.kernel[i];
    double speed = k->flops > 0 ? kernel_gflops(k) : 0;
    printf("%8.3f %5.1f%% %6" PRIu32 " %9.1f %6.1f%%  %s\n", (double)k->ns * 1e-6,
           100.0 * (double)k->ns / (double)all, k->steps, speed,
           b->peak > 0 ? speed * 1e11 / b->peak : 0, k->text);
  }
}

#define MIB(bytes) ((double)(bytes) / 1048576.0)

static void print_text(const Bench *b) {
  printf("%s, entry %s, batch %" PRId64 ", %" PRId32 " threads, %s %s\n", b->c->arg[0],
         b->spec.entry, b->spec.batch, b->session.threads, b->session.device, b->session.target);
  printf("  time        best %.3f ms, median %.3f ms, 95 %% below %.3f ms (%" PRIu32 " runs)\n",
         b->best_ms, b->median_ms, b->p95_ms, b->n_runs);
  if (b->run.flops > 0 && b->peak <= 0)
    printf("  speed       %.1f GFLOP/s\n", gflops(b));
  else if (b->run.flops > 0)
    printf("  speed       %.1f GFLOP/s, %.1f %% of the measured %s peak (%.1f GFLOP/s)\n",
           gflops(b), 100 * peak_fraction(b), is_bf16(b) ? "bf16" : "FMA", b->peak * 1e-9);
  else
    printf("  speed       not known: the compiler library is not there\n");
  printf("  start       load %.1f ms (code: %s), first run %.1f ms\n", b->load_ms,
         origin(b->session.code), b->first_ms);
  printf("  memory      peak %.1f MiB, private %.1f MiB\n", MIB(memory_peak()),
         MIB(memory_private()));
  printf("  bytes       weights %.1f MiB, activations %.1f MiB, code %.2f MiB\n",
         MIB(b->m.info.weight_bytes), MIB(b->session.activation_bytes), MIB(b->session.code_bytes));
  if (b->plans.n > 0) plans_print(&b->plans, stdout);
  if (opt_given(b->c, per_kernel)) print_kernels(b);
}

/* The artifact's module must be the one that --train names. */
static VlStatus check_method(Bench *b) {
  vlpc_module_info info = {.struct_size = sizeof info};
  const char *asked = opt(b->c, train_method);
  vlpc_port p = {.struct_size = sizeof p};
  bool trains = vlpc_artifact_port(b->m.artifact, TRAIN_ENTRY, VLPC_OUTPUT, 0, &p);
  bool has = vlpc_artifact_module(b->m.artifact, &info);
  if (trains && has && strcmp(info.method, asked) == 0) return VLPC_OK;
  VlStatus s = diag_error(b->c->diag, DIAG_TRAIN_MODULE, (DiagAt){b->c->arg[0], NULL},
                          "the artifact does not train '%s'", asked);
  diag_found(b->c->diag, "%s%s", has ? info.method : "no prompt module",
             trains ? "" : ", no entry that computes gradients");
  diag_fix(b->c->diag, "compile it with --prompt MODULE.onnx --train");
  return s;
}

static VlStatus read_spec(Bench *b) {
  Cli *c = b->c;
  b->spec.trains = opt_given(c, train_method);
  b->spec.entry = opt_given(c, tower) ? opt(c, tower) : b->spec.trains ? TRAIN_ENTRY : "image";
  VL_TRY(opt_int(c, OPT_batch, (int64_t[]){1, 65536}, 1, &b->spec.batch));
  VL_TRY(opt_int(c, OPT_seed, (int64_t[]){0, INT64_MAX}, 1, &b->spec.seed));
  VL_TRY(opt_int(c, OPT_iters, (int64_t[]){1, 1000000}, 0, &b->iters));
  int64_t classes = b->spec.trains ? 100 : 0;
  VL_TRY(opt_int(c, OPT_n_classes, (int64_t[]){1, 1000000}, classes, &b->spec.classes));
  return opt_real(c, OPT_seconds, 3, &b->seconds);
}

VlStatus cmd_bench(Cli *c) {
  Bench b = {.c = c};
  VL_TRY(read_spec(&b));
  VL_TRY(model_open(c, c->arg[0], &b.m));
  if (b.spec.trains) VL_TRY(check_method(&b));
  b.load_ms = b.m.open_ms + b.m.session_ms;
  VL_TRY(measure(&b));
  progress_clear();
  if (opt_given(c, trace)) VL_TRY(bench_write_trace(c, opt(c, trace), &b.run));
  if (c->json)
    print_json(&b);
  else
    print_text(&b);
  return VLPC_OK;
}
