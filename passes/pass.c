/* SPDX-License-Identifier: Apache-2.0 */
/* pass.c - runs the passes of passes.def.
**
** The whole table is run until a round changes nothing.  After each run, and
** only here: the verifier, the checks that were asked for, dumps and times.  A
** run that left the graph as it was costs nothing further: graphs are compared
** by their text. */
#include "passes/pass_int.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/rng.h"

/* ---- the table ----------------------------------------------------------------- */

typedef struct {
  const char *name, *what;
  uint64_t needs;
  OpCode makes;
  RewriteFn *fn;
} PassInfo;

static const PassInfo table[PASS__COUNT] = {
#define PASS(id, needs, makes, what) [PASS_##id] = {#id, what, needs, OP_##makes, pass_##id},
#include "passes/passes.def"
};

const char *pass_name(PassId p) { return table[p].name; }
const char *pass_what(PassId p) { return table[p].what; }

bool pass_find(const char *name, PassId *out) {
  for (int p = 1; p < PASS__COUNT; p++) {
    if (strcmp(table[p].name, name) != 0) continue;
    *out = (PassId)p;
    return true;
  }
  return false;
}

/* ---- one run ----------------------------------------------------------------------- */

enum { ROUNDS = 12, REPEATS = 8 };

typedef struct {
  Arena *a;
  Diag *d;
  const PassOpts *opt;
  PassResult *out;
  Graph *g;
  const char *text; /* of g */
  uint32_t cap;     /* of out->run */
} Job;

static const char *text_of(const Graph *g, Arena *a) {
  Str s = {.arena = a};
  ir_print(g, 0, &s);
  return str_text(&s);
}

static VlStatus broken(const Job *j, PassId p, const char *what, const char *detail) {
  VlStatus s = diag_error(j->d, DIAG_PASS_BROKE, DIAG_NOWHERE, "pass %s: %s", pass_name(p), what);
  diag_found(j->d, "%s", detail);
  diag_fix(j->d, "leave the pass out with --no-%s, and report the model", pass_name(p));
  return s;
}

/* ---- checks -------------------------------------------------------------------------- */

static BlobTable blobs_of(const Graph *g, Arena *a) {
  uint32_t n = ir_n_blobs(g);
  Blob *at = arena_array(a, Blob, n);
  for (uint32_t b = 0; b < n; b++) at[b] = *ir_blob_get(g, (BlobId){b + 1});
  return (BlobTable){at, n};
}

static VlStatus check_roundtrip(const Job *j, PassId p) {
  Diag *d = diag_new();
  Graph *back = ir_parse(j->a, "pass", j->text, strlen(j->text), blobs_of(j->g, j->a), d);
  VlStatus s = VLPC_OK;
  if (back == NULL) s = broken(j, p, "its text does not parse", diag_text(d));
  else if (strcmp(text_of(back, j->a), j->text) != 0)
    s = broken(j, p, "its text does not print back", "a different text");
  diag_free(d);
  return s;
}

/* Noise for floats; 0 and 1 for integers, 1 first in each row, so that a mask
** leaves every row a key to see. */
static RefTensor random_input(const Graph *g, Arena *a, Named in, const int64_t *sym) {
  const Type *t = ir_type_of(g, in.v);
  int64_t size[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++)
    VL_CHECK(dim_eval(ir_dims(g), t->dim[i], sym, &size[i]), "a size overflows");
  RefTensor x = ref_tensor(a, t->dtype, t->rank, size);
  int64_t cols = t->rank > 0 ? size[t->rank - 1] : 1;
  Rng r = {7, hash_bytes(in.name, strlen(in.name), 0)};
  for (int64_t i = 0; i < x.count; i++) {
    if (x.f != NULL) x.f[i] = rng_normal(r, (uint64_t)i);
    else x.i[i] = i % cols == 0 || (rng_u32(r, (uint64_t)i) & 1) != 0;
  }
  return x;
}

static bool eval_random(const Graph *g, Arena *a, RefTensor *out) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(g, &in);
  RefTensor *x = arena_array(a, RefTensor, n);
  int64_t sym[DIM_MAX_SYMS];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = 2 + i % 2;
  for (uint32_t i = 0; i < n; i++) x[i] = random_input(g, a, in[i], sym);
  return ir_eval(g, a, EVAL_DOUBLE, x, out, NULL) == VLPC_OK;
}

static bool are_close(const RefTensor *x, const RefTensor *y) {
  if (x->count != y->count || x->dtype != y->dtype) return false;
  for (int64_t i = 0; i < x->count; i++) {
    if (x->f == NULL ? x->i[i] != y->i[i]
                     : !(fabs(x->f[i] - y->f[i]) <= 1e-5 * (1 + fabs(x->f[i]))) &&
                           !(isnan(x->f[i]) && isnan(y->f[i])))
      return false;
  }
  return true;
}

/* All memory is scratch's. */
static VlStatus compare_runs(const Job *j, const Graph *before, PassId p, Arena *scratch) {
  if (ARENA_GUARD(scratch)) return VLPC_E_NOMEM;
  const Named *out = NULL;
  uint32_t n = ir_outputs(j->g, &out);
  RefTensor *x = arena_array(scratch, RefTensor, n), *y = arena_array(scratch, RefTensor, n);
  if (!eval_random(before, scratch, x)) return VLPC_OK; /* the file's own fault */
  if (!eval_random(j->g, scratch, y)) return broken(j, p, "the graph cannot be run", "an error");
  for (uint32_t i = 0; i < n; i++)
    if (!are_close(&x[i], &y[i])) return broken(j, p, "an output changes", out[i].name);
  return VLPC_OK;
}

static VlStatus check_eval(const Job *j, const Graph *before, PassId p) {
  Arena *scratch = arena_new(0);
  if (scratch == NULL) return VLPC_E_NOMEM;
  VlStatus s = compare_runs(j, before, p, scratch);
  arena_free(scratch);
  return s;
}

static VlStatus check(Job *j, const Graph *before, PassId p) {
  Str faults = {.arena = j->a};
  if (!ir_verify(j->g, SPEC_IMPORT, &faults))
    return broken(j, p, "the graph is not sound", str_text(&faults));
  if (j->opt->check & PASS_CHECK_ROUNDTRIP) VL_TRY(check_roundtrip(j, p));
  if (j->opt->check & PASS_CHECK_EVAL) VL_TRY(check_eval(j, before, p));
  if (j->opt->check & PASS_CHECK_CLONE) j->g = ir_rewrite(j->g, j->a, NULL, NULL, NULL);
  return VLPC_OK;
}

/* ---- running ---------------------------------------------------------------------------- */

static PassRun *add_run(Job *j) {
  if (j->out->n_runs == j->cap) {
    j->cap = j->cap == 0 ? 64 : 2 * j->cap;
    PassRun *to = arena_array(j->a, PassRun, j->cap);
    if (j->out->n_runs > 0) memcpy(to, j->out->run, j->out->n_runs * sizeof *to);
    j->out->run = to;
  }
  return &j->out->run[j->out->n_runs++];
}

/* Once over all nodes; true when the graph is another one. */
static bool rewrite_once(Job *j, PassId p) {
  PassCtx cx = {.arena = j->a,
                .uses = ir_uses(j->g, j->a),
                .depends = tower_depends(j->g, j->a),
                .approx = j->opt->approx};
  m_list_readers(j->g, j->a, &cx);
  bool changed = false;
  Graph *to = ir_rewrite(j->g, j->a, table[p].fn, &cx, &changed);
  if (!changed) return false;
  const char *text = text_of(to, j->a);
  if (strcmp(text, j->text) == 0) return false;
  j->g = to;
  j->text = text;
  return true;
}

static VlStatus run_pass(Job *j, PassId p, bool *changed) {
  const Graph *before = j->g;
  int64_t start = clock_ns();
  bool is_other = false;
  for (int i = 0; i < REPEATS && rewrite_once(j, p); i++) is_other = true;
  PassRun *r = add_run(j);
  *r = (PassRun){p, (double)(clock_ns() - start) * 1e-6,
                 ir_n_vals(before), ir_n_vals(j->g), is_other};
  *changed = *changed || is_other;
  if (j->opt->on_dump != NULL && (j->opt->dump & (UINT64_C(1) << p)) != 0)
    j->opt->on_dump(j->opt->dump_ctx, j->out->n_runs, pass_name(p), j->text);
  return is_other ? check(j, before, p) : VLPC_OK;
}

/* Skipped itself, or one that it needs is; those stand above it. */
static uint64_t all_skipped(uint64_t skip) {
  for (int p = 1; p < PASS__COUNT; p++)
    if ((skip & table[p].needs) != 0) skip |= UINT64_C(1) << p;
  return skip;
}

static VlStatus run_table(Job *j) {
  bool changed = true;
  uint64_t skip = all_skipped(j->opt->skip);
  for (int round = 0; round < ROUNDS && changed; round++) {
    changed = false;
    for (int p = 1; p < PASS__COUNT; p++) {
      if ((skip >> p & 1) != 0) continue;
      if (j->opt->bisect != 0 && j->out->n_runs == j->opt->bisect) return VLPC_OK;
      VL_TRY(run_pass(j, (PassId)p, &changed));
      if (j->opt->stop_after == (PassId)p) return VLPC_OK;
    }
  }
  return VLPC_OK;
}

static Val apart_node(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  const uint64_t *skip = rw->ctx;
  OpCode op = ir_op(rw->src, src);
  for (int p = 1; p < PASS__COUNT; p++)
    if ((*skip >> p & 1) != 0 && table[p].makes == op && op != OP_none)
      return ir_expand(rw->dst, rw->src, src, in);
  return VAL_NONE;
}

Graph *pass_apart(const Graph *g, uint64_t skip, Arena *a) {
  uint64_t all = all_skipped(skip);
  return ir_rewrite(g, a, apart_node, &all, NULL);
}

VlStatus pass_relower(Graph *g, const PassOpts *opt, Diag *d, PassResult *out) {
  static const PassOpts all = {0};
  Arena *a = ir_arena(g);
  *out = (PassResult){.g = g};
  Job j = {.a = a, .d = d, .opt = opt != NULL ? opt : &all, .out = out};
  j.g = ir_rewrite(g, a, NULL, NULL, NULL);
  j.text = text_of(j.g, a);
  VL_TRY(run_table(&j));
  out->g = j.g;
  out->report = pass_report(out->g, a);
  return VLPC_OK;
}

VlStatus pass_lower(Graph *g, const PassOpts *opt, Diag *d, PassResult *out) {
  static const PassOpts all = {0};
  Arena *a = ir_arena(g);
  *out = (PassResult){.g = g};
  Job j = {.a = a, .d = d, .opt = opt != NULL ? opt : &all, .out = out};
  j.g = ir_rewrite(tower_sizes(g, a), a, NULL, NULL, NULL); /* without dead nodes */
  j.text = text_of(j.g, a);
  VL_TRY(run_table(&j));
  out->g = tower_names(j.g, a, out);
  out->report = pass_report(out->g, a);
  return VLPC_OK;
}
