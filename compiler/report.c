/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - what a compilation found, fused and planned. */
#include <string.h>

#include "compiler/compiler.h"

static void json_text(Str *out, const char *s) {
  str_json(out, s ? s : "", s ? strlen(s) : 0);
}

static void misses_json(const FuseReport *r, Str *out) {
  str_add(out, "], \"missed\": [");
  for (uint32_t i = 0; i < r->n_miss; i++) {
    const FuseMiss *m = &r->miss[i];
    str_printf(out, "%s{\"kind\": \"%s\", \"file\": ", i ? ", " : "", fuse_name(m->kind));
    json_text(out, m->at.file);
    str_add(out, ", \"place\": ");
    json_text(out, m->at.place);
    str_add(out, ", \"reason\": ");
    json_text(out, m->reason);
    str_add(out, "}");
  }
  str_add(out, "]");
}

static void as_json(const Compile *c, const FuseReport *r, Str *out) {
  str_add(out, "{\"fused\": [");
  for (int k = 0; k < FUSE__COUNT; k++)
    str_printf(out, "%s{\"kind\": \"%s\", \"count\": %u}", k ? ", " : "", fuse_name((FuseKind)k),
               r->n[k]);
  misses_json(r, out);
  str_add(out, ", \"passes\": [");
  for (uint32_t m = 0, n = 0; m < c->n_models; m++) {
    for (uint32_t i = 0; i < c->lowered[m].n_runs; i++) {
      const PassRun *run = &c->lowered[m].run[i];
      str_printf(out, "%s{\"pass\": \"%s\", \"ms\": %.3f, \"before\": %u, \"after\": %u}",
                 n++ ? ", " : "", pass_name(run->pass), run->ms, run->before, run->after);
    }
  }
  str_printf(out, "], \"kernels\": %u, \"steps\": %u, \"weight_bytes\": %llu}", c->plan.kernels.n,
             c->plan.program.n_steps, (unsigned long long)c->plan.weight_bytes);
}

static void as_text(const Compile *c, const FuseReport *r, Str *out) {
  if (c->has_source) str_printf(out, "%s: an artifact\n", c->o->models[0]);
  for (uint32_t i = 0; i < c->n_models && !c->has_source; i++)
    str_printf(out, "%s: %s, opset %lld\n", c->o->models[i], fe_producer(c->model[i]),
               (long long)fe_opset(c->model[i]));

  pass_report_text(r, out);
  if (out->n && out->at[out->n - 1] != '\n') str_add(out, "\n");
  for (uint32_t i = 0; i < c->plan.program.n_entries; i++) {
    const ProgEntry *e = &c->plan.program.entries[i];
    str_printf(out, "entry %s: %u steps\n", e->name, e->n_steps);
  }
  if (c->plan.kernels.n)
    str_printf(out, "%u kernels, %.1f MiB of weights\n", c->plan.kernels.n,
               (double)c->plan.weight_bytes / 1048576);
  str_add(out, str_text((Str *)(uintptr_t)&c->dump));
}

void compile_report(const Compile *c, vlpc_text_format format, Str *out) {
  if (!c->graph) return;
  if (format == VLPC_JSON)
    as_json(c, &c->report, out);
  else
    as_text(c, &c->report, out);
}
