/* SPDX-License-Identifier: Apache-2.0 */
/* dim.c - interned affine expressions.
**
** A map finds the newest expression with a given hash; expressions that share
** a hash are chained through `next`, so equal ids never rest on a hash alone.
** All arithmetic makes a Dim on the stack, checked step by step, and interns
** it; DIM_NONE comes out wherever one went in. */
#include "base/dim.h"

#include <string.h>

#include "base/map.h"
#include "base/vec.h"

typedef struct {
  Dim dim;
  DimId next; /* same hash, DIM_NONE at the end */
} Entry;

struct DimTable {
  Arena *arena;
  VEC(Entry) entries; /* id - 1 is the index */
  Map *by_hash;
  uint32_t n_symbols;
  const char *symbol[DIM_MAX_SYMS];
};

DimTable *dim_table_new(Arena *a) {
  DimTable *t = arena_one(a, DimTable);
  t->arena = a;
  t->by_hash = map_new(a);
  return t;
}

uint32_t dim_count(const DimTable *t) {
  return t->entries.n;
}

Dim dim_get(const DimTable *t, DimId d) {
  VL_CHECK(d != DIM_NONE && d <= t->entries.n, "dim_get: no such size");
  return t->entries.at[d - 1].dim;
}

/* --- interning --- */

static bool well_formed(const DimTable *t, const Dim *d) {
  if (d->n > DIM_MAX_TERMS) return false;
  for (uint32_t i = 0; i < d->n; i++) {
    if (d->term[i].k == 0 || d->term[i].sym >= t->n_symbols) return false;
    if (i > 0 && d->term[i - 1].sym >= d->term[i].sym) return false;
  }
  return true;
}

static bool dim_equal(const Dim *a, const Dim *b) {
  if (a->c != b->c || a->n != b->n) return false;
  for (uint32_t i = 0; i < a->n; i++)
    if (a->term[i].sym != b->term[i].sym || a->term[i].k != b->term[i].k) return false;
  return true;
}

static uint64_t dim_hash(const Dim *d) {
  int64_t flat[1 + 2 * DIM_MAX_TERMS] = {d->c};
  for (uint32_t i = 0; i < d->n; i++) {
    flat[1 + 2 * i] = d->term[i].sym;
    flat[2 + 2 * i] = d->term[i].k;
  }
  return hash_bytes(flat, (1 + 2 * (size_t)d->n) * sizeof *flat, 0);
}

DimId dim_intern(DimTable *t, const Dim *d) {
  if (!well_formed(t, d)) return DIM_NONE;
  uint64_t hash = dim_hash(d);
  DimId first = DIM_NONE;
  map_get(t->by_hash, hash, &first);
  for (DimId at = first; at != DIM_NONE; at = t->entries.at[at - 1].next)
    if (dim_equal(&t->entries.at[at - 1].dim, d)) return at;
  *vec_push(t->arena, &t->entries) = (Entry){*d, first};
  map_set(t->by_hash, hash, t->entries.n);
  return t->entries.n;
}

DimId dim_const(DimTable *t, int64_t c) {
  Dim d = {.c = c};
  return dim_intern(t, &d);
}

/* --- symbols --- */

static bool symbol_find(const DimTable *t, const char *name, size_t n, SymId *out) {
  for (SymId s = 0; s < t->n_symbols; s++) {
    if (strlen(t->symbol[s]) != n || memcmp(t->symbol[s], name, n) != 0) continue;
    *out = s;
    return true;
  }
  return false;
}

static bool name_ok(const char *name, size_t n) {
  if (n == 0 || n > DIM_MAX_NAME) return false;
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f || name[i] == '\'') return false;
  return true;
}

static SymId symbol_add(DimTable *t, const char *name, size_t n) {
  SymId s = DIM_MAX_SYMS;
  if (!name_ok(name, n) || symbol_find(t, name, n, &s)) return s;
  if (t->n_symbols == DIM_MAX_SYMS) return DIM_MAX_SYMS;
  t->symbol[t->n_symbols] = arena_strndup(t->arena, name, n);
  return t->n_symbols++;
}

SymId dim_symbol(DimTable *t, const char *name) {
  return symbol_add(t, name, strlen(name));
}

DimId dim_of_symbol(DimTable *t, SymId s) {
  Dim d = {.n = 1, .term = {{s, 1}}};
  return dim_intern(t, &d);
}

uint32_t dim_n_symbols(const DimTable *t) {
  return t->n_symbols;
}

const char *dim_symbol_name(const DimTable *t, SymId s) {
  VL_CHECK(s < t->n_symbols, "dim_symbol_name: no such symbol");
  return t->symbol[s];
}

bool dim_rename(DimTable *t, SymId s, const char *name) {
  VL_CHECK(s < t->n_symbols, "dim_rename: no such symbol");
  size_t n = strlen(name);
  SymId other = s;
  if (!name_ok(name, n) || (symbol_find(t, name, n, &other) && other != s)) return false;
  t->symbol[s] = arena_strndup(t->arena, name, n);
  return true;
}

/* --- arithmetic --- */

/* The smallest symbol not yet merged of a's term i and b's term j. */
static SymId next_symbol(const Dim *a, uint32_t i, const Dim *b, uint32_t j) {
  SymId left = i < a->n ? a->term[i].sym : DIM_MAX_SYMS;
  SymId right = j < b->n ? b->term[j].sym : DIM_MAX_SYMS;
  return VL_MIN(left, right);
}

/* *out = a + factor·b; false on overflow or too many terms.  out may be a. */
static bool add_scaled(const Dim *a, const Dim *b, int64_t factor, Dim *out) {
  Dim sum = {0};
  int64_t k = 0;
  if (!vl_mul_i64(b->c, factor, &k) || !vl_add_i64(a->c, k, &sum.c)) return false;
  for (uint32_t i = 0, j = 0; i < a->n || j < b->n;) {
    SymId sym = next_symbol(a, i, b, j);
    int64_t left = i < a->n && a->term[i].sym == sym ? a->term[i++].k : 0;
    int64_t right = j < b->n && b->term[j].sym == sym ? b->term[j++].k : 0;
    if (!vl_mul_i64(right, factor, &k) || !vl_add_i64(left, k, &k)) return false;
    if (k == 0) continue;
    if (sum.n == DIM_MAX_TERMS) return false;
    sum.term[sum.n].sym = sym;
    sum.term[sum.n++].k = k;
  }
  *out = sum;
  return true;
}

static DimId intern_sum(DimTable *t, const Dim *a, const Dim *b, int64_t factor) {
  Dim sum;
  return add_scaled(a, b, factor, &sum) ? dim_intern(t, &sum) : DIM_NONE;
}

DimId dim_add(DimTable *t, DimId a, DimId b) {
  if (a == DIM_NONE || b == DIM_NONE) return DIM_NONE;
  Dim x = dim_get(t, a), y = dim_get(t, b);
  return intern_sum(t, &x, &y, 1);
}

DimId dim_sub(DimTable *t, DimId a, DimId b) {
  if (a == DIM_NONE || b == DIM_NONE) return DIM_NONE;
  if (a == b) return dim_const(t, 0);
  Dim x = dim_get(t, a), y = dim_get(t, b);
  return intern_sum(t, &x, &y, -1);
}

DimId dim_mul(DimTable *t, DimId a, DimId b) {
  if (a == DIM_NONE || b == DIM_NONE) return DIM_NONE;
  const Dim zero = {0};
  Dim x = dim_get(t, a), y = dim_get(t, b);
  if (y.n == 0) return intern_sum(t, &zero, &x, y.c);
  return x.n == 0 ? intern_sum(t, &zero, &y, x.c) : DIM_NONE;
}

/* *q = a / b when b divides a; false otherwise. */
static bool exact_quotient(int64_t a, int64_t b, int64_t *q) {
  if (b == 0 || (a == INT64_MIN && b == -1) || a % b != 0) return false;
  *q = a / b;
  return true;
}

/* a = q·b for a number q, as in (50*batch+50) / (batch+1). */
static DimId divide_by_multiple(DimTable *t, const Dim *a, const Dim *b) {
  int64_t q = 0;
  Dim back;
  const Dim zero = {0};
  if (a->n != 0 && !exact_quotient(a->term[0].k, b->term[0].k, &q)) return DIM_NONE;
  if (!add_scaled(&zero, b, q, &back) || !dim_equal(&back, a)) return DIM_NONE;
  return dim_const(t, q);
}

DimId dim_div(DimTable *t, DimId a, DimId b) {
  if (a == DIM_NONE || b == DIM_NONE) return DIM_NONE;
  Dim x = dim_get(t, a), y = dim_get(t, b);
  if (y.n != 0) return divide_by_multiple(t, &x, &y);
  if (!exact_quotient(x.c, y.c, &x.c)) return DIM_NONE;
  for (uint32_t i = 0; i < x.n; i++)
    if (!exact_quotient(x.term[i].k, y.c, &x.term[i].k)) return DIM_NONE;
  return dim_intern(t, &x);
}

bool dim_is_const(const DimTable *t, DimId d, int64_t *out) {
  if (d == DIM_NONE || dim_get(t, d).n != 0) return false;
  *out = dim_get(t, d).c;
  return true;
}

bool dim_eval(const DimTable *t, DimId d, const int64_t *value, int64_t *out) {
  if (d == DIM_NONE) return false;
  Dim x = dim_get(t, d);
  int64_t sum = x.c, k = 0;
  for (uint32_t i = 0; i < x.n; i++)
    if (!vl_mul_i64(x.term[i].k, value[x.term[i].sym], &k) || !vl_add_i64(sum, k, &sum))
      return false;
  *out = sum;
  return true;
}

/* --- text --- */

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Characters of the plain name at text, 0 when none starts there. */
static size_t plain_length(const char *text, size_t n) {
  size_t i = 0;
  if (n == 0 || !is_letter(text[0])) return 0;
  while (i < n && (is_letter(text[i]) || is_digit(text[i]) || text[i] == '.')) i++;
  return i;
}

static void print_symbol(const char *name, Str *s) {
  size_t n = strlen(name);
  const char *quote = plain_length(name, n) == n ? "" : "'";
  str_printf(s, "%s%s%s", quote, name, quote);
}

void dim_print(const DimTable *t, DimId d, Str *s) {
  if (d == DIM_NONE) {
    str_add(s, "?");
    return;
  }
  Dim x = dim_get(t, d);
  for (uint32_t i = 0; i < x.n; i++) {
    if (i > 0 && x.term[i].k > 0) str_add(s, "+");
    if (x.term[i].k != 1) str_printf(s, "%lld*", (long long)x.term[i].k);
    print_symbol(t->symbol[x.term[i].sym], s);
  }
  if (x.n == 0 || x.c != 0) str_printf(s, x.n != 0 && x.c > 0 ? "+%lld" : "%lld", (long long)x.c);
}

/* What is left to read; each read_ function takes one thing off its front. */
typedef struct {
  const char *at, *end;
} Cursor;

static bool read_char(Cursor *c, char want) {
  if (c->at == c->end || *c->at != want) return false;
  c->at++;
  return true;
}

/* Digits as a number of the given sign; false when none are there or it does
** not fit. */
static bool read_number(Cursor *c, int64_t sign, int64_t *out) {
  const char *first = c->at;
  int64_t v = 0;
  for (; c->at < c->end && is_digit(*c->at); c->at++)
    if (!vl_mul_i64(v, 10, &v) || !vl_add_i64(v, sign * (*c->at - '0'), &v)) return false;
  *out = v;
  return c->at != first;
}

static bool read_symbol(DimTable *t, Cursor *c, SymId *out) {
  bool quoted = read_char(c, '\'');
  size_t left = (size_t)(c->end - c->at);
  const char *close = quoted ? memchr(c->at, '\'', left) : NULL;
  if (quoted && close == NULL) return false;
  size_t n = quoted ? (size_t)(close - c->at) : plain_length(c->at, left);
  *out = symbol_add(t, c->at, n);
  c->at += n + quoted;
  return *out != DIM_MAX_SYMS;
}

/* One of 7, batch, 50*batch behind its sign, added to *d. */
static bool read_term(DimTable *t, Cursor *c, int64_t sign, Dim *d) {
  Dim one = {.c = 1};
  int64_t k = sign;
  bool number = c->at < c->end && is_digit(*c->at);
  if (number && !read_number(c, sign, &k)) return false;
  if (!number || read_char(c, '*')) {
    one = (Dim){.n = 1, .term = {{0, 1}}};
    if (!read_symbol(t, c, &one.term[0].sym)) return false;
  }
  return add_scaled(d, &one, k, d);
}

DimId dim_parse(DimTable *t, const char *text, size_t n) {
  Cursor c = {text, text + n};
  Dim d = {0};
  int64_t sign = read_char(&c, '-') ? -1 : 1;
  if (!read_term(t, &c, sign, &d)) return DIM_NONE;
  while (c.at < c.end) {
    bool minus = read_char(&c, '-');
    if (!minus && !read_char(&c, '+')) return DIM_NONE;
    if (!read_term(t, &c, minus ? -1 : 1, &d)) return DIM_NONE;
  }
  return dim_intern(t, &d);
}
