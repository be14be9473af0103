/* SPDX-License-Identifier: Apache-2.0 */
/* sched_step.c - drafts: from a filled kernel to a step of the program.
** Equal kernels are shared, so a tower of twelve blocks has the kernels of
** one. */
#include "passes/sched_int.h"

#include <string.h>

Draft draft_begin(Sched *s, Val v, KernelKind kind) {
  return (Draft){.s = s, .v = v, .k = {.kind = kind}};
}

KSize draft_size(Draft *d, DimId dim) {
  int64_t c = 0;
  if (dim_is_const(d->s->dims, dim, &c)) return ksize(c);
  if (dim == DIM_NONE) d->full = true;
  for (uint32_t i = 0; i < d->n_sizes; i++) {
    if (d->size[i] == dim) return (KSize){0, (int32_t)i};
  }
  if (d->n_sizes == PROG_MAX_SIZES) {
    d->full = true;
    return ksize(0);
  }
  d->size[d->n_sizes] = dim;
  return (KSize){0, (int32_t)d->n_sizes++};
}

uint32_t draft_arg(Draft *d, const Place *p) {
  if (d->n_args == PROG_MAX_ARGS || p->off == DIM_NONE) {
    d->full = true;
    return 0;
  }
  d->arg[d->n_args] = (ProgArg){p->buf, p->off};
  return d->n_args++;
}

static uint32_t intern_kernel(Sched *s, const Kernel *k) {
  const uint8_t *at = NULL;
  size_t n = 0;
  kernels_write((KernelList){(Kernel *)(uintptr_t)k, 1}, s->a, &at, &n);
  uint32_t i = names_add(s->kernel_names, (const char *)at, n);
  if (i == s->kernels.n) *vec_push(s->a, &s->kernels) = *k;
  return i;
}

static void note_life(Sched *s, uint32_t buf, uint32_t step) {
  ProgBuf *b = &s->bufs.at[buf];
  if (b->kind != BUF_TEMP) return;
  if (b->first == UINT32_MAX) b->first = step;
  b->last = step;
}

/* The nodes a step computes, by the names the file gives them. */
static const char *place_text(Sched *s, Val v) {
  DiagAt at = ir_at(s->g, ir_loc(s->g, v));
  return at.place ? at.place : op_info(ir_op(s->g, v))->name;
}

void draft_end(Draft *d) {
  Sched *s = d->s;
  if (d->full) {
    sched_refuse(s, d->v, "it needs more operands than a kernel has, or sizes that are not affine");
    return;
  }
  d->k.n_operands = d->n_args;
  d->k.n_sizes = d->n_sizes;
  ProgStep step = {.kernel = intern_kernel(s, &d->k),
                   .arg = s->args.n,
                   .n_args = d->n_args,
                   .size = s->sizes.n,
                   .n_sizes = d->n_sizes,
                   .place = place_text(s, d->v)};
  for (uint32_t i = 0; i < d->n_args; i++) {
    *vec_push(s->a, &s->args) = d->arg[i];
    note_life(s, d->arg[i].buf, s->steps.n);
  }
  for (uint32_t i = 0; i < d->n_sizes; i++) *vec_push(s->a, &s->sizes) = d->size[i];
  *vec_push(s->a, &s->steps) = step;
}
