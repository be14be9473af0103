/* SPDX-License-Identifier: Apache-2.0 */
/* texts.c - kernels and program as text, for people. */
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
