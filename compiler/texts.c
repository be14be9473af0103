/* SPDX-License-Identifier: Apache-2.0 */
/* texts.c - kernels, program and binding times as text, for people. */
#include <string.h>

#include "compiler/compiler.h"

void kernels_text(KernelList l, Str *out) {
  for (uint32_t i = 0; i < l.n; i++) {
    str_printf(out, "kernel %u: ", i);
    kernel_describe(&l.at[i], out);
    str_add(out, "\n");
  }
}

static void buf_text(const Program *p, uint32_t i, Str *out) {
  static const char *const kind[] = {"", "input", "output", "const", "temp"};
  const ProgBuf *b = &p->bufs[i];
  str_printf(out, "buffer %u: %s %s[", i, kind[b->kind], dtype_name(b->dtype));
  for (uint32_t k = 0; k < b->rank; k++) {
    if (k) str_add(out, ",");
    dim_print(p->dims, b->size[k], out);
  }
  str_add(out, "]");
  if (b->kind == BUF_CONST) str_printf(out, " at %llu", (unsigned long long)b->offset);
  if (b->kind == BUF_TEMP) str_printf(out, " live %u..%u", b->first, b->last);
  str_add(out, "\n");
}

static void step_text(const Program *p, KernelList l, uint32_t i, Str *out) {
  const ProgStep *s = &p->steps[i];
  str_printf(out, "  step %u: ", i);
  kernel_describe(&l.at[s->kernel], out);
  for (uint32_t k = 0; k < s->n_args; k++) {
    const ProgArg *a = &p->args[s->arg + k];
    str_printf(out, " %%%u+", a->buf);
    dim_print(p->dims, a->offset, out);
  }
  str_add(out, s->n_sizes ? " sizes" : "");
  for (uint32_t k = 0; k < s->n_sizes; k++) {
    str_add(out, " ");
    dim_print(p->dims, p->sizes[s->size + k], out);
  }
  str_printf(out, "  ; %s\n", s->place);
}

void program_text(const Program *p, KernelList l, Str *out) {
  for (uint32_t i = 0; i < p->n_bufs; i++) buf_text(p, i, out);
  for (uint32_t e = 0; e < p->n_entries; e++) {
    str_printf(out, "entry %s\n", p->entries[e].name);
    for (uint32_t i = 0; i < p->entries[e].n_steps; i++)
      step_text(p, l, p->entries[e].step + i, out);
  }
}

/* ---- when what is known ----------------------------------------------------- */

static void value_text(const Graph *g, Named x, Str *out) {
  const Type *t = ir_type_of(g, x.v);
  str_printf(out, "%s %s[", x.name, dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i) str_add(out, ",");
    dim_print(ir_dims(g), t->dim[i], out);
  }
  str_add(out, "]");
}

/* How many values are known when; the time of each point; what each entry gets of
** others. */
void binding_text(const Compile *c, Str *out) {
  const Graph *g = c->graph;
  const BindTime *at = pass_binding(g, c->a, &c->trainables, BIND_prompts);
  const Named *point = NULL;
  uint32_t count[BIND__COUNT] = {0}, n = ir_points(g, &point);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) count[at[i]]++;
  for (int t = 0; t < BIND__COUNT; t++)
    str_printf(out, "%s: %u values\n", bind_name((BindTime)t), count[t]);
  for (uint32_t i = 0; i < n; i++)
    str_printf(out, "point %s: %s\n", point[i].name, bind_name(at[point[i].v.i]));
  for (uint32_t e = 0; e < c->n_entries; e++) {
    str_printf(out, "entry %s\n", c->entry[e].name);
    for (uint32_t i = 0; i < c->entry[e].given.n; i++) {
      str_add(out, "  given ");
      value_text(g, c->entry[e].given.at[i], out);
      str_add(out, "\n");
    }
  }
}
