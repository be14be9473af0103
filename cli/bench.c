/* SPDX-License-Identifier: Apache-2.0 */
/* bench.c - one run observed step by step; sums by kernel; Chrome traces. */
#include "cli/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/str.h"

typedef VEC(vlpc_step_info) StepInfos;
typedef struct {
  Arena *arena;
  StepInfos at;
} Seen;

static void on_step(void *user, const vlpc_step_info *step) {
  Seen *seen = user;
  vlpc_step_info *copy = vec_push(seen->arena, &seen->at);
  int64_t *sizes = arena_array(seen->arena, int64_t, step->n_sizes);
  if (step->n_sizes > 0) memcpy(sizes, step->sizes, step->n_sizes * sizeof *sizes);
  *copy = *step;
  copy->sizes = sizes;
}

/* Names a step's kernel and counts its operations. */
static void describe(Cli *c, vlpc_compiler *k, const Model *m, const vlpc_step_info *s,
                     BenchStep *out) {
  vlpc_kernel_info info = {.struct_size = sizeof info};
  bool known = k != NULL && vlpc_kernel_describe(k, m->artifact, s, &info) == VLPC_OK;
  *out = (BenchStep){.text = known ? arena_strdup(c->arena, info.text)
                                   : arena_printf(c->arena, "kernel %u", s->kernel),
                     .place = arena_strdup(c->arena, s->place != NULL ? s->place : ""),
                     .start_ns = s->start_ns,
                     .end_ns = s->end_ns,
                     .flops = known ? info.flops : 0};
}

static int slowest_first(const void *a, const void *b) {
  const BenchKernel *x = a, *y = b;
  if (x->ns != y->ns) return x->ns > y->ns ? -1 : 1;
  return strcmp(x->text, y->text);
}

static void add_up(Cli *c, BenchRun *r) {
  r->kernel = arena_array(c->arena, BenchKernel, r->step.n);
  for (uint32_t i = 0; i < r->step.n; i++) {
    const BenchStep *s = &r->step.at[i];
    uint32_t k = 0;
    while (k < r->n_kernels && strcmp(r->kernel[k].text, s->text) != 0) k++;
    if (k == r->n_kernels) r->kernel[r->n_kernels++] = (BenchKernel){.text = s->text};
    r->kernel[k].steps++;
    r->kernel[k].ns += s->end_ns - s->start_ns;
    r->kernel[k].flops += s->flops;
    r->flops += s->flops;
  }
  if (r->n_kernels > 1) qsort(r->kernel, r->n_kernels, sizeof *r->kernel, slowest_first);
}

VlStatus bench_observe(Cli *c, Model *m, const char *entry, BenchRun *out) {
  Seen seen = {.arena = c->arena};
  vlpc_compiler *k = NULL;
  VL_TRY(fail_session(c, m, vlpc_session_on_step(m->session, on_step, &seen)));
  VlStatus s = vlpc_session_run(m->session, entry);
  VL_IGNORE(vlpc_session_on_step(m->session, NULL, NULL)); /* taking it away cannot matter */
  VL_TRY(fail_session(c, m, s));
  if (compiler_open(c, &k) != VLPC_OK) {
    c->foreign = NULL; /* times are known without the compiler */
    k = NULL;
  }
  *out = (BenchRun){.n_kernels = 0};
  for (uint32_t i = 0; i < seen.at.n; i++) {
    BenchStep step;
    describe(c, k, m, &seen.at.at[i], &step);
    *vec_push(c->arena, &out->step) = step;
  }
  add_up(c, out);
  return VLPC_OK;
}

VlStatus bench_write_trace(Cli *c, const char *path, const BenchRun *r) {
  Str s = {.arena = c->arena};
  str_add(&s, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
  int64_t zero = r->step.n > 0 ? r->step.at[0].start_ns : 0;
  for (uint32_t i = 0; i < r->step.n; i++) {
    const BenchStep *e = &r->step.at[i];
    str_add(&s, i > 0 ? ",\n{\"name\":" : "\n{\"name\":");
    str_json(&s, e->text, strlen(e->text));
    str_printf(&s,
               ",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"nodes\":",
               (double)(e->start_ns - zero) * 1e-3, (double)(e->end_ns - e->start_ns) * 1e-3);
    str_json(&s, e->place, strlen(e->place));
    str_printf(&s, ",\"flops\":%" PRId64 "}}", e->flops);
  }
  str_add(&s, "\n]}\n");
  return io_write_file(path, str_text(&s), s.n, c->diag);
}
