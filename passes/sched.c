/* SPDX-License-Identifier: Apache-2.0 */
/* sched.c - drives scheduling: entries, the emission table, live ranges.
**
** in:      a recognised graph (SPEC_CORE)
** out:     kernels, the planned program, requests for constants
** method:  per entry: mark what the outputs need, decide fusion, then emit the
**          nodes in order through one table
** A gemm with an epilogue is emitted at the last node of the epilogue, so that
** the residual is there. */
#include "passes/sched_int.h"

#include <string.h>

void sched_refuse(Sched *s, Val v, const char *why) {
  VL_IGNORE(diag_error(s->d, DIAG_SCHEDULE, ir_at(s->g, ir_loc(s->g, v)),
                       "%s cannot be scheduled: %s", op_info(ir_op(s->g, v))->name, why));
  diag_fix(s->d, "compile the part of the model without it, or report the model");
  (void)sched_dest(s, v); /* its readers are looked at too */
}

typedef void EmitFn(Sched *s, Val v);

static void emit_view(Sched *s, Val v) {
  const Type *t = ir_type_of(s->g, v);
  Place from = sched_source(s, ir_in(s->g, v, 0)), view = {0};
  bool ok = true;
  switch ((int)ir_op(s->g, v)) {
  case OP_permute:
    view = place_permuted(&from, ir_attr(s->g, v, A_perm)->ints);
    break;
  case OP_broadcast:
    view = place_broadcast(s, &from, t);
    break;
  case OP_slice:
    ok = place_sliced(s, &from, v, &view);
    break;
  default:
    if (place_reshaped(s, &from, t, &view)) break;
    from = sched_copied(s, v, &from, place_dtype(s, &from));
    ok = place_reshaped(s, &from, t, &view);
  }
  if (!ok) {
    sched_refuse(s, v, "its place is not affine in the sizes");
    return;
  }
  Info *in = &s->info[v.i];
  if (in->output || val_ok(in->concat)) {
    Place to = sched_dest(s, v);
    sched_copy(s, v, &view, &to);
  } else {
    in->place = view;
    in->placed = true;
  }
}

static EmitFn *emitter(OpCode op) {
  switch ((int)op) {
  case OP_input:
    return NULL;
  case OP_dims:
  case OP_iota:
    return sched_generated;
  case OP_permute:
  case OP_broadcast:
  case OP_slice:
  case OP_reshape:
  case OP_again:
    return emit_view;
  case OP_concat:
    return sched_concat;
  case OP_pad:
    return sched_pad;
  case OP_matmul:
    return sched_matmul;
  case OP_conv:
    return sched_conv;
  case OP_gather:
  case OP_gather_elements:
  case OP_gather_nd:
  case OP_embedding:
    return sched_gather;
  case OP_scatter_nd:
  case OP_scatter_add:
    return sched_scatter_nd;
  case OP_cumsum:
  case OP_topk_values:
  case OP_topk_indices:
    return sched_axis;
  case OP_softmax:
  case OP_log_softmax:
  case OP_layernorm:
  case OP_l2norm:
    return sched_rows;
  case OP_layernorm_grad:
    return sched_layernorm_grad;
  case OP_linear:
    return sched_linear;
  case OP_patch_embed:
    return sched_patch_embed;
  case OP_attention:
  case OP_attention_varlen:
    return sched_attention;
  case OP_attention_grad:
  case OP_attention_varlen_grad:
    return sched_attention_grad;
  default:
    return op_info(op)->kind == K_REDUCE ? sched_reduce : sched_elementwise;
  }
}

/* The gemm whose epilogue ends at v, if any. */
static Val gemm_ending_at(const Sched *s, Val v) {
  Val x = s->info[v.i].act;
  if (!val_ok(x)) x = v;
  for (uint32_t i = 0; i < ir_n_in(s->g, x); i++) {
    Val in = ir_in(s->g, x, i);
    if (!val_ok(in) || !val_eq(s->info[in.i].into, v)) continue;
    OpCode op = ir_op(s->g, in);
    if (op == OP_linear || op == OP_patch_embed) return in;
  }
  return VAL_NONE;
}

static void emit_node(Sched *s, Val v) {
  const Info *in = &s->info[v.i];
  if (!in->needed || in->at_compile || in->given || in->inlined || val_ok(in->into)) return;
  Val gemm = val_ok(in->act) || val_ok(in->residual) ? gemm_ending_at(s, v) : VAL_NONE;
  if (val_ok(gemm)) v = gemm;
  EmitFn *fn = emitter(ir_op(s->g, v));
  if (fn) fn(s, v);
}

/* ---- entries ------------------------------------------------------------ */

static void mark_constants(Sched *s) {
  const bool *at_compile = sched_constants(s->g, s->a);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) s->info[i].at_compile = at_compile[i];
}

static void mark_weights(Sched *s) {
  s->is_weight = arena_array(s->a, bool, ir_n_vals(s->g) + 1);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    if (ir_op(s->g, (Val){i}) != OP_linear) continue;
    for (uint32_t k = 1; k < ir_n_in(s->g, (Val){i}); k++)
      s->is_weight[ir_in(s->g, (Val){i}, k).i] = true;
  }
}

static void reset_info(Sched *s) {
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++)
    s->info[i] = (Info){.at_compile = s->info[i].at_compile};
}

/* attention_grad has a kernel that does without the lse. */
static bool is_lse(const Graph *g, Val v, uint32_t operand) {
  OpCode op = ir_op(g, v);
  return (op == OP_attention_grad || op == OP_attention_varlen_grad) && operand == 2;
}

static void mark_needed(Sched *s, const SchedEntry *e) {
  for (uint32_t i = 0; i < e->n_out; i++) {
    s->info[e->out[i].v.i].needed = true;
    s->info[e->out[i].v.i].uses++;
  }
  for (uint32_t i = 0; i < e->n_given; i++) s->info[e->given[i].v.i].given = true;
  for (uint32_t i = ir_n_vals(s->g); i > 0; i--) {
    Val v = {i};
    if (!s->info[i].needed || s->info[i].at_compile || s->info[i].given) continue;
    for (uint32_t k = 0; k < ir_n_in(s->g, v); k++) {
      Val x = ir_in(s->g, v, k);
      if (!val_ok(x) || is_lse(s->g, v, k)) continue;
      s->info[x.i].needed = true;
      s->info[x.i].uses++;
    }
  }
}

static uint32_t add_port(Sched *s, const char *name, BufKind kind, Val v) {
  const Type *t = ir_type_of(s->g, v);
  ProgBuf b = {.kind = kind, .dtype = t->dtype, .rank = t->rank};
  memcpy(b.size, t->dim, sizeof b.size);
  *vec_push(s->a, &s->bufs) = b;
  *vec_push(s->a, &s->ports) = (ProgPort){name, s->bufs.n - 1};
  return s->ports.n - 1;
}

static void open_ports(Sched *s, const Named *in, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    Info *info = &s->info[in[i].v.i];
    if (!info->needed) continue;
    uint32_t port = add_port(s, in[i].name, BUF_INPUT, in[i].v);
    info->place = place_contiguous(s, s->ports.at[port].buf, ir_type_of(s->g, in[i].v));
    info->placed = true;
  }
}

static void open_inputs(Sched *s, const SchedEntry *from, ProgEntry *e) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(s->g, &in);
  e->in = s->ports.n;
  open_ports(s, in, n);
  open_ports(s, from->given, from->n_given);
  e->n_in = s->ports.n - e->in;
}

/* A value computed by a step goes straight to its output; the rest is copied
** at the end (copied_outputs). */
static bool writes_output(const Sched *s, Val v) {
  return !s->info[v.i].at_compile && !s->info[v.i].given && ir_op(s->g, v) != OP_input;
}

static void open_outputs(Sched *s, const SchedEntry *e, ProgEntry *pe) {
  pe->out = s->ports.n;
  for (uint32_t i = 0; i < e->n_out; i++) {
    uint32_t port = add_port(s, e->out[i].name, BUF_OUTPUT, e->out[i].v);
    Info *in = &s->info[e->out[i].v.i];
    if (writes_output(s, e->out[i].v) && !in->output) in->output = port + 1;
  }
  pe->n_out = e->n_out;
}

static void copy_outputs(Sched *s, const SchedEntry *e, const ProgEntry *pe) {
  for (uint32_t i = 0; i < e->n_out; i++) {
    Val v = e->out[i].v;
    if (s->info[v.i].output == pe->out + i + 1) continue;
    const Type *t = ir_type_of(s->g, v);
    Place from = sched_source(s, v), to = place_contiguous(s, s->ports.at[pe->out + i].buf, t);
    sched_copy(s, v, &from, &to);
  }
}

static ProgEntry schedule_entry(Sched *s, const SchedEntry *e) {
  ProgEntry pe = {.name = arena_strdup(s->a, e->name), .step = s->steps.n};
  reset_info(s);
  mark_needed(s, e);
  open_inputs(s, e, &pe);
  open_outputs(s, e, &pe);
  sched_fuse(s);
  sched_hold(s);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) emit_node(s, (Val){i});
  copy_outputs(s, e, &pe);
  pe.n_steps = s->steps.n - pe.step;
  return pe;
}

/* Temporaries that no step touches stay out of the program. */
static void drop_unused(Sched *s) {
  uint32_t *to = arena_array(s->a, uint32_t, s->bufs.n), n = 0;
  for (uint32_t i = 0; i < s->bufs.n; i++) {
    if (s->bufs.at[i].kind == BUF_TEMP && s->bufs.at[i].first == UINT32_MAX) continue;
    s->bufs.at[n] = s->bufs.at[i];
    if (s->bufs.at[n].kind != BUF_TEMP) s->bufs.at[n].first = s->bufs.at[n].last = 0;
    to[i] = n++;
  }
  s->bufs.n = n;
  for (uint32_t i = 0; i < s->args.n; i++) s->args.at[i].buf = to[s->args.at[i].buf];
  for (uint32_t i = 0; i < s->ports.n; i++) s->ports.at[i].buf = to[s->ports.at[i].buf];
  for (uint32_t i = 0; i < s->consts.n; i++) s->consts.at[i].buf = to[s->consts.at[i].buf];
}

VlStatus sched_run(const Graph *g, const SchedEntry *entry, uint32_t n_entries, uint32_t flags,
                   Arena *a, Diag *d, Schedule *out) {
  int errors = diag_count(d);
  Sched s = {.g = g,
             .dims = ir_dims(g),
             .a = a,
             .d = d,
             .flags = flags,
             .info = arena_array(a, Info, ir_n_vals(g) + 1),
             .kernel_names = names_new(a),
             .const_bufs = map_new(a)};
  ProgEntry *entries = arena_array(a, ProgEntry, n_entries);
  mark_constants(&s);
  mark_weights(&s);
  for (uint32_t i = 0; i < n_entries; i++) entries[i] = schedule_entry(&s, &entry[i]);
  if (diag_count(d) != errors) return diag_status(d);
  drop_unused(&s);
  *out = (Schedule){.program = {.dims = s.dims,
                                .n_bufs = s.bufs.n,
                                .n_args = s.args.n,
                                .n_sizes = s.sizes.n,
                                .n_steps = s.steps.n,
                                .n_ports = s.ports.n,
                                .n_entries = n_entries,
                                .n_kernels = s.kernels.n,
                                .bufs = s.bufs.at,
                                .args = s.args.at,
                                .sizes = s.sizes.at,
                                .steps = s.steps.at,
                                .ports = s.ports.at,
                                .entries = entries},
                    .kernels = {s.kernels.at, s.kernels.n},
                    .consts = s.consts.at,
                    .n_consts = s.consts.n,
                    .weight_bytes = s.weight_bytes};
  Str faults = {.arena = a};
  VL_CHECK(program_verify(&out->program, &faults), str_text(&faults));
  return VLPC_OK;
}
