/* SPDX-License-Identifier: Apache-2.0 */
/* imp_einsum.c - Einsum as transpositions, sums and matrix products.
**
** Operands are joined from left to right.  Of two operands' labels, those in
** both that nobody needs later are contracted, those in both that are needed
** are batch axes, the others are free.  Ellipsis axes are labels of their own,
** aligned from the right. */
#include <inttypes.h>
#include <string.h>

#include "frontend/fe_int.h"

enum { LETTERS = 52, LABELS = LETTERS + VLPC_MAX_RANK, TEXT_MOST = 256 };

typedef struct {
  uint32_t n;
  uint8_t at[VLPC_MAX_RANK]; /* label of each axis */
} Labels;

typedef struct {
  Val v;
  Labels l;
} Term;

typedef struct {
  OnnxNode *x;
  const char *text;
  uint32_t n_ellipsis; /* axes that the longest ellipsis stands for */
} Parse;

static bool bad_equation(OnnxNode *x, const char *text, const char *why) {
  n_fail(x, DIAG_ONNX_FORM, "the equation %s", why);
  diag_found(x->im->d, "\"%.100s\"", text);
  return false;
}

static int label_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  return -1;
}

static bool has_label(const Labels *l, uint32_t label, uint32_t *at) {
  for (uint32_t i = 0; i < l->n; i++) {
    if (l->at[i] != label) continue;
    if (at) *at = i;
    return true;
  }
  return false;
}

static bool push(Labels *l, uint32_t label) {
  if (l->n == VLPC_MAX_RANK) return false;
  l->at[l->n++] = (uint8_t)label;
  return true;
}

/* One comma-separated term; n_dots is how many axes its ellipsis stands for. */
static bool read_term(const Parse *p, const char *s, const char *end, uint32_t n_dots,
                      Labels *out) {
  bool dots = false, ok = true;
  *out = (Labels){0};
  while (s < end && ok) {
    if (*s == '.') {
      if (end - s < 3 || s[1] != '.' || s[2] != '.' || dots) return false;
      dots = true;
      for (uint32_t i = 0; i < n_dots; i++) {
        ok = ok && push(out, LETTERS + p->n_ellipsis - n_dots + i);
      }
      s += 3;
      continue;
    }
    int label = label_of(*s++);
    ok = label >= 0 && push(out, (uint32_t)label);
  }
  return ok;
}

static uint32_t letters_in(const char *s, const char *end) {
  uint32_t n = 0;
  for (; s < end; s++) n += label_of(*s) >= 0;
  return n;
}

static bool read_operand(Parse *p, const char *s, const char *end, Val v, Term *out) {
  uint32_t rank = n_rank(p->x, v), letters = letters_in(s, end);
  bool dots = memchr(s, '.', (size_t)(end - s)) != NULL;
  out->v = v;
  return rank >= letters && (dots || rank == letters) &&
         read_term(p, s, end, rank - letters, &out->l);
}

/* Labels of the result when the equation names none: the ellipsis, then the
** letters that occur once, in order of their codes. */
static bool implicit_result(const Parse *p, const Term *t, Labels *out) {
  uint32_t count[LABELS] = {0};
  bool ok = true;
  *out = (Labels){0};
  for (uint32_t i = 0; i < p->x->n_in; i++) {
    for (uint32_t k = 0; k < t[i].l.n; k++) count[t[i].l.at[k]]++;
  }
  for (uint32_t i = 0; i < p->n_ellipsis; i++) ok = ok && push(out, LETTERS + i);
  for (uint32_t i = 0; i < LETTERS; i++) {
    if (count[i] == 1) ok = ok && push(out, i);
  }
  return ok;
}

/* ---- axes --------------------------------------------------------------- */

static Val sum_axis(OnnxNode *x, Val v, uint32_t axis) {
  Axes one = {true, 1, {axis}};
  return n_reduce(x, OP_reduce_sum, v, &one, false);
}

static void drop_axis(OnnxNode *x, Term *t, uint32_t axis) {
  t->v = sum_axis(x, t->v, axis);
  t->l.n--;
  memmove(t->l.at + axis, t->l.at + axis + 1, t->l.n - axis);
}

/* A label that comes twice in one term: only the diagonal counts. */
static void take_diagonals(OnnxNode *x, Term *t) {
  for (uint32_t i = 0; i < t->l.n; i++) {
    for (uint32_t k = t->l.n - 1; k > i && val_ok(t->v); k--) {
      DimId dim[2][VLPC_MAX_RANK];
      if (t->l.at[k] != t->l.at[i]) continue;
      uint32_t rank = n_rank(x, t->v);
      if (!n_agree(x, n_dim(x, t->v, i), n_dim(x, t->v, k))) {
        t->v = VAL_NONE;
        n_fail(x, DIAG_ONNX_SHAPE, "a diagonal needs equal sizes");
        return;
      }
      for (uint32_t j = 0; j < rank; j++) {
        dim[0][j] = j == i ? n_dim(x, t->v, i) : n_size(x, 1);
        dim[1][j] = j == k ? n_dim(x, t->v, k) : n_size(x, 1);
      }
      Val p = n_reshape(x, n_iota(x, n_dim(x, t->v, i)), dim[0], rank);
      Val q = n_reshape(x, n_iota(x, n_dim(x, t->v, k)), dim[1], rank);
      t->v = n_where(x, n_ew2(x, OP_eq, p, q), t->v, n_like(x, t->v, 0));
      drop_axis(x, t, k);
    }
  }
}

/* t with exactly these axes; size 1 where it has none of that label. */
static Val arranged(OnnxNode *x, const Term *t, const Labels *to) {
  int64_t perm[VLPC_MAX_RANK];
  DimId dim[VLPC_MAX_RANK];
  uint32_t n = 0, at = 0;
  if (!val_ok(t->v)) return VAL_NONE;
  for (uint32_t i = 0; i < to->n; i++) {
    bool is_there = has_label(&t->l, to->at[i], &at);
    dim[i] = is_there ? n_dim(x, t->v, at) : n_size(x, 1);
    if (is_there) perm[n++] = at;
  }
  return n_reshape(x, n_permute(x, t->v, perm, n), dim, to->n);
}

static bool append(Labels *to, const Labels *more) {
  bool ok = true;
  for (uint32_t i = 0; i < more->n; i++) ok = ok && push(to, more->at[i]);
  return ok;
}

/* ---- joining two terms -------------------------------------------------- */

typedef struct {
  Labels batch, free_a, free_b, inner;
} Roles;

static Roles roles_of(const Term *a, const Term *b, const bool *is_needed) {
  Roles r = {0};
  for (uint32_t i = 0; i < a->l.n; i++) {
    uint32_t label = a->l.at[i];
    if (!has_label(&b->l, label, NULL)) push(&r.free_a, label);
    else push(is_needed[label] ? &r.batch : &r.inner, label);
  }
  for (uint32_t i = 0; i < b->l.n; i++) {
    if (!has_label(&a->l, b->l.at[i], NULL)) push(&r.free_b, b->l.at[i]);
  }
  return r;
}

static DimId size_of_labels(OnnxNode *x, const Term *t, const Labels *l) {
  DimId d = n_size(x, 1);
  uint32_t at = 0;
  for (uint32_t i = 0; i < l->n; i++) {
    if (has_label(&t->l, l->at[i], &at)) d = dim_mul(n_dims(x), d, n_dim(x, t->v, at));
  }
  return d;
}

/* batch axes as they are, then rows × columns. */
static Val as_matrices(OnnxNode *x, const Term *t, const Labels *batch, const Labels *rows,
                       const Labels *columns) {
  DimId dim[VLPC_MAX_RANK + 2];
  Labels order = *batch;
  if (!append(&order, rows) || !append(&order, columns) || batch->n + 2 > VLPC_MAX_RANK) {
    return VAL_NONE;
  }
  Val v = arranged(x, t, &order);
  if (!val_ok(v)) return VAL_NONE;
  for (uint32_t i = 0; i < batch->n; i++) dim[i] = n_dim(x, v, i);
  dim[batch->n] = size_of_labels(x, t, rows);
  dim[batch->n + 1] = size_of_labels(x, t, columns);
  return n_reshape(x, v, dim, batch->n + 2);
}

static void free_sizes(OnnxNode *x, const Term *t, const Labels *l, DimId *dim) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < l->n; i++) {
    if (has_label(&t->l, l->at[i], &at)) dim[i] = n_dim(x, t->v, at);
  }
}

static Val by_matmul(OnnxNode *x, const Term *a, const Term *b, const Roles *r) {
  Val m = n_matmul(x, as_matrices(x, a, &r->batch, &r->free_a, &r->inner),
                   as_matrices(x, b, &r->batch, &r->inner, &r->free_b));
  DimId dim[3 * VLPC_MAX_RANK];
  if (!val_ok(m)) return VAL_NONE;
  for (uint32_t i = 0; i < r->batch.n; i++) dim[i] = n_dim(x, m, i);
  free_sizes(x, a, &r->free_a, dim + r->batch.n);
  free_sizes(x, b, &r->free_b, dim + r->batch.n + r->free_a.n);
  return n_reshape(x, m, dim, r->batch.n + r->free_a.n + r->free_b.n);
}

/* Any case: multiply with broadcasting, then sum. */
static Val by_broadcast(OnnxNode *x, const Term *a, const Term *b, const Labels *all,
                        const Labels *inner) {
  Labels order = *all;
  if (!append(&order, inner)) {
    n_fail(x, DIAG_ONNX_FORM, "the equation needs more than %d axes at once", VLPC_MAX_RANK);
    return VAL_NONE;
  }
  Val v = n_ew2(x, OP_mul, arranged(x, a, &order), arranged(x, b, &order));
  Axes axes = {.given = true};
  for (uint32_t i = all->n; i < order.n; i++) axes.at[axes.n++] = i;
  return n_reduce(x, OP_reduce_sum, v, &axes, false);
}

static Term join(OnnxNode *x, const Term *a, const Term *b, const bool *is_needed) {
  Roles r = roles_of(a, b, is_needed);
  Term out = {.v = VAL_NONE, .l = r.batch};
  if (!val_ok(a->v) || !val_ok(b->v)) return out;
  bool fits = append(&out.l, &r.free_a) && append(&out.l, &r.free_b);
  if (!fits) {
    n_fail(x, DIAG_ONNX_FORM, "the equation needs more than %d axes at once", VLPC_MAX_RANK);
    return out;
  }
  bool is_flat = size_of_labels(x, a, &r.free_a) != DIM_NONE &&
                 size_of_labels(x, b, &r.free_b) != DIM_NONE &&
                 size_of_labels(x, a, &r.inner) != DIM_NONE && r.batch.n + 2 <= VLPC_MAX_RANK;
  out.v = r.inner.n && is_flat ? by_matmul(x, a, b, &r) : by_broadcast(x, a, b, &out.l, &r.inner);
  return out;
}

/* Sums the labels of t that are not needed and not in other. */
static void sum_unneeded(OnnxNode *x, Term *t, const Term *other, const bool *is_needed) {
  for (uint32_t i = t->l.n; i-- > 0;) {
    uint32_t label = t->l.at[i];
    if (!is_needed[label] && !(other && has_label(&other->l, label, NULL))) drop_axis(x, t, i);
  }
}

static Term join_all(OnnxNode *x, Term *t, const Labels *result) {
  Term acc = t[0];
  take_diagonals(x, &acc);
  for (uint32_t i = 1; i < x->n_in; i++) {
    bool is_needed[LABELS] = {false};
    for (uint32_t k = 0; k < result->n; k++) is_needed[result->at[k]] = true;
    for (uint32_t j = i + 1; j < x->n_in; j++) {
      for (uint32_t k = 0; k < t[j].l.n; k++) is_needed[t[j].l.at[k]] = true;
    }
    take_diagonals(x, &t[i]);
    sum_unneeded(x, &acc, &t[i], is_needed);
    sum_unneeded(x, &t[i], &acc, is_needed);
    acc = join(x, &acc, &t[i], is_needed);
  }
  bool is_needed[LABELS] = {false};
  for (uint32_t k = 0; k < result->n; k++) is_needed[result->at[k]] = true;
  sum_unneeded(x, &acc, NULL, is_needed);
  return acc;
}

/* ---- the equation ------------------------------------------------------- */

static bool read_result(const Parse *p, const char *arrow, const Term *t, Labels *out) {
  if (!arrow) return implicit_result(p, t, out);
  const char *s = arrow + 2;
  if (!read_term(p, s, s + strlen(s), p->n_ellipsis, out)) return false;
  for (uint32_t i = 0; i < out->n; i++) {
    bool is_known = false;
    for (uint32_t k = 0; k < p->x->n_in; k++) {
      is_known = is_known || has_label(&t[k].l, out->at[i], NULL);
    }
    for (uint32_t k = 0; k < i; k++) is_known = is_known && out->at[k] != out->at[i];
    if (!is_known) return false;
  }
  return true;
}

/* Both sides of every comma, twice: for the ellipsis' length, then for labels. */
static bool read_operands(Parse *p, const char *end, Term *t) {
  for (int round = 0; round < 2; round++) {
    const char *s = p->text;
    for (uint32_t i = 0; i < p->x->n_in; i++) {
      const char *stop = memchr(s, ',', (size_t)(end - s));
      bool is_last = i + 1 == p->x->n_in;
      if (is_last != !stop) return false;
      if (!stop) stop = end;
      uint32_t rank = n_rank(p->x, p->x->in[i]), letters = letters_in(s, stop);
      if (round == 0 && rank > letters) p->n_ellipsis = VL_MAX(p->n_ellipsis, rank - letters);
      if (round == 1 && !read_operand(p, s, stop, p->x->in[i], &t[i])) return false;
      s = stop + !is_last;
    }
  }
  return true;
}

bool imp_einsum(OnnxNode *x) {
  const char *given = get_str(x, "equation", "");
  size_t n = strlen(given), k = 0;
  if (n > TEXT_MOST) return bad_equation(x, given, "is too long");
  char *text = arena_alloc(x->a, n + 1);
  for (size_t i = 0; i < n; i++) {
    if (given[i] != ' ') text[k++] = given[i];
  }
  Parse p = {x, text, 0};
  Term *t = arena_array(x->a, Term, x->n_in);
  Labels result;
  const char *arrow = strstr(text, "->");
  if (!read_operands(&p, arrow ? arrow : text + k, t) || !read_result(&p, arrow, t, &result)) {
    return bad_equation(x, given, "does not fit its operands");
  }
  Term all = join_all(x, t, &result);
  return n_out(x, 0, arranged(x, &all, &result));
}
