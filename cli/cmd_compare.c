/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_compare.c - vlpc compare.
**
** Each expected array is compared with an output that has its name, in an entry
** whose inputs are all given; an exact name counts before an alias, the order
** of entries decides the rest.  An entry runs once, and all its arrays are
** compared before the next one runs.  Arrays of unknown names are left out; an
** output that lacks its input counts as failed. */
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "cli/arrays.h"
#include "cli/json.h"
#include "cli/progress.h"

typedef struct {
  const NpyArray *want;
  const char *entry, *port; /* NULL: not compared */
  const char *missing;      /* the input that an output of this name lacks */
  double atol, max_abs, cosine;
  bool good;
} Row;

typedef struct {
  Cli *c;
  Model m;
  Npz in, want;
  double min_cosine, atol; /* atol < 0: by the kind of array */
} Compare;

/* Finds the output for a row; exact: only by its own name.  An output that
** cannot be computed for want of an input is noted. */
static bool find_output(const Compare *k, Row *r, bool exact) {
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t e = 0; vlpc_artifact_entry(k->m.artifact, e) != NULL; e++) {
    const char *entry = vlpc_artifact_entry(k->m.artifact, e);
    const char *missing = missing_input(&k->m, entry, &k->in);
    for (uint32_t i = 0; vlpc_artifact_port(k->m.artifact, entry, VLPC_OUTPUT, i, &port); i++) {
      if (exact ? strcmp(port.name, r->want->name) != 0 : !port_answers(&port, r->want->name))
        continue;
      if (missing != NULL) {
        r->missing = missing;
        continue;
      }
      r->entry = entry, r->port = port.name;
      return true;
    }
  }
  return false;
}

static VlStatus not_compared(Compare *k) {
  Str names = {.arena = k->c->arena};
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t e = 0; vlpc_artifact_entry(k->m.artifact, e) != NULL; e++) {
    const char *entry = vlpc_artifact_entry(k->m.artifact, e);
    const char *missing = missing_input(&k->m, entry, &k->in);
    for (uint32_t i = 0; vlpc_artifact_port(k->m.artifact, entry, VLPC_OUTPUT, i, &port); i++)
      str_printf(&names, "%s%s", names.n > 0 ? ", " : "", port.name);
    if (missing != NULL) str_printf(&names, " (but '%s' is not in the inputs)", missing);
  }
  VlStatus s = diag_error(k->c->diag, DIAG_NOT_COMPARABLE, (DiagAt){opt(k->c, expected), NULL},
                          "no array has the name of an output that can be computed");
  if (k->want.n > 0) diag_found(k->c->diag, "%s%s", k->want.at[0].name, k->want.n > 1 ? ", …" : "");
  diag_expected(k->c->diag, "%s", str_text(&names));
  return s;
}

static bool same_shape(const NpyArray *x, const vlpc_tensor *t, int64_t *n) {
  if ((int32_t)x->rank != t->rank) return false;
  *n = 1;
  for (uint32_t i = 0; i < x->rank; i++) {
    if (x->size[i] != t->shape[i]) return false;
    *n *= x->size[i];
  }
  return true;
}

static const char *shape_text(Arena *a, const int64_t *size, uint32_t rank) {
  Str s = {.arena = a};
  for (uint32_t i = 0; i < rank; i++)
    str_printf(&s, "%s%lld", i > 0 ? " × " : "", (long long)size[i]);
  return rank > 0 ? str_text(&s) : "a scalar";
}

/* Largest difference and cosine of two arrays; NaN in one of them makes both
** NaN. */
static void measure(Row *r, const vlpc_tensor *t, int64_t n) {
  double xy = 0, xx = 0, yy = 0, worst = 0;
  for (int64_t i = 0; i < n; i++) {
    double x = dtype_load(r->want->dtype, r->want->data, i), y = dtype_load(t->dtype, t->data, i);
    double d = x == y ? 0 : fabs(x - y);
    worst = d > worst || isnan(d) ? d : worst;
    if (isnan(worst)) break;
    xy += x * y, xx += x * x, yy += y * y;
  }
  r->max_abs = worst;
  r->cosine = isnan(worst) ? worst : xx == yy && xx == 0 ? 1 : xy / sqrt(xx * yy);
}

static VlStatus compare_row(Compare *k, Row *r) {
  vlpc_tensor t;
  int64_t n;
  VL_TRY(fail_session(k->c, &k->m, vlpc_session_output(k->m.session, r->entry, r->port, &t)));
  if (!same_shape(r->want, &t, &n)) {
    VlStatus s =
        diag_error(k->c->diag, DIAG_NOT_COMPARABLE, (DiagAt){opt(k->c, expected), r->want->name},
                   "has another shape than the output '%s'", r->port);
    diag_found(k->c->diag, "%s", shape_text(k->c->arena, r->want->size, r->want->rank));
    diag_expected(k->c->diag, "%s", shape_text(k->c->arena, t.shape, (uint32_t)t.rank));
    return s;
  }
  measure(r, &t, n);
  r->atol = k->atol >= 0 ? k->atol : strstr(r->port, "logits") != NULL ? 1e-3 : 1e-4;
  r->good = r->max_abs <= r->atol && r->cosine >= k->min_cosine;
  k->c->failed |= !r->good;
  return VLPC_OK;
}

static void print_row(const Row *r) {
  if (r->entry != NULL)
    printf("%-4s %s/%s: max abs %.3g (limit %.3g), cosine %.9f\n", r->good ? "ok" : "FAIL",
           r->entry, r->port, r->max_abs, r->atol, r->cosine);
  else if (r->missing != NULL)
    printf("FAIL %s: cannot be computed without the input '%s'\n", r->want->name, r->missing);
  else
    fprintf(stderr, "vlpc: '%s' is not compared: no output has this name\n", r->want->name);
}

static void print_json(Compare *k, const Row *row) {
  Json j = js_start(k->c);
  js_bool(&j, "ok", !k->c->failed);
  js_real(&j, "min_cosine", k->min_cosine);
  js_list(&j, "arrays");
  for (uint32_t i = 0; i < k->want.n; i++) {
    const Row *r = &row[i];
    js_object(&j, NULL);
    js_text(&j, "name", r->want->name);
    js_bool(&j, "compared", r->entry != NULL);
    if (r->missing != NULL && r->entry == NULL) js_text(&j, "missing_input", r->missing);
    if (r->entry != NULL) {
      js_text(&j, "entry", r->entry);
      js_text(&j, "output", r->port);
      js_real(&j, "max_abs", r->max_abs);
      js_real(&j, "atol", r->atol);
      js_real(&j, "cosine", r->cosine);
      js_bool(&j, "ok", r->good);
    }
    js_end(&j);
  }
  js_print(&j);
}

/* Runs an entry when a row wants it, and compares its rows. */
static VlStatus compare_entry(Compare *k, const char *entry, Row *row, uint32_t *compared) {
  bool ran = false;
  VL_TRY(progress_check(k->c));
  for (uint32_t i = 0; i < k->want.n; i++) {
    if (row[i].entry == NULL || strcmp(row[i].entry, entry) != 0) continue;
    if (!ran) VL_TRY(run_entry(k->c, &k->m, entry, &k->in));
    ran = true;
    VL_TRY(compare_row(k, &row[i]));
    ++*compared;
  }
  return VLPC_OK;
}

VlStatus cmd_compare(Cli *c) {
  Compare k = {.c = c};
  VL_TRY(opt_need(c, OPT_inputs));
  VL_TRY(opt_need(c, OPT_expected));
  VL_TRY(opt_real(c, OPT_atol, -1, &k.atol));
  VL_TRY(opt_real(c, OPT_min_cosine, 0.999999, &k.min_cosine));
  VL_TRY(npz_read(opt(c, inputs), c->arena, c->diag, &k.in));
  VL_TRY(npz_read(opt(c, expected), c->arena, c->diag, &k.want));
  VL_TRY(model_open(c, c->arg[0], &k.m));
  Row *row = arena_array(c->arena, Row, k.want.n);
  uint32_t compared = 0;
  for (uint32_t i = 0; i < k.want.n; i++) {
    row[i].want = &k.want.at[i];
    bool found = find_output(&k, &row[i], true) || find_output(&k, &row[i], false);
    c->failed |= !found && row[i].missing != NULL;
  }
  for (uint32_t e = 0; vlpc_artifact_entry(k.m.artifact, e) != NULL; e++)
    VL_TRY(compare_entry(&k, vlpc_artifact_entry(k.m.artifact, e), row, &compared));
  if (compared == 0) return not_compared(&k);
  progress_clear();
  if (c->json) print_json(&k, row);
  for (uint32_t i = 0; i < k.want.n && !c->json; i++) print_row(&row[i]);
  return VLPC_OK;
}
