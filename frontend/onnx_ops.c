/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_ops.c - the table of ONNX operators and what its rows promise.
**
** A row's `types` has a letter per operand, the last repeating:
**   f float   i integer   j i32 or i64   l i64   n float or integer   b bool
**   a any   s sequence   r any, also rows (Seq)   0 … 9 same as that operand
** `attrs` lists "name:kind", kind one of i f s t g I F (lists in capitals),
** with ! when required.  An attribute that is not listed is an error: it could
** change what the node means. */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "frontend/fe_int.h"


#define IN(least, most) least, most
#define ONNX(op, since, until, fn, arg, in, out, types, attrs, note) \
  {"", #op, since, until, imp_##fn, arg, in, out, types, attrs, note},
#define MICROSOFT(op, fn, arg, in, out, types, attrs, note) \
  {"com.microsoft", #op, 1, 0, imp_##fn, arg, in, out, types, attrs, note},
static const OnnxOp rows[] = {
#include "frontend/onnx_ops.def"
};
#undef ONNX
#undef MICROSOFT
#undef IN

bool fe_op_row(uint32_t i, FeOp *out) {
  if (i >= VL_COUNT(rows)) return false;
  *out = (FeOp){rows[i].domain, rows[i].op, rows[i].since, rows[i].until, rows[i].note};
  return true;
}

const OnnxOp *op_row_find(const char *domain, const char *op, int64_t opset, bool *known) {
  *known = false;
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    const OnnxOp *r = &rows[i];
    if (r->op[0] != op[0] || !str_is(r->op, op) || !str_is(r->domain, domain)) continue;
    *known = true;
    if (opset >= r->since && (!r->until || opset <= r->until)) return r;
  }
  return NULL;
}

int op_row_since(const char *domain, const char *op) {
  int since = INT16_MAX;
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    bool is_op = str_is(rows[i].op, op) && str_is(rows[i].domain, domain);
    if (is_op) since = VL_MIN(since, rows[i].since);
  }
  return since;
}

/* Levenshtein's distance, for names of at most 31 bytes. */
static uint32_t distance(const char *a, const char *b) {
  uint32_t row[32];
  size_t n = strlen(b);
  if (n > 31 || strlen(a) > 31) return 99;
  for (uint32_t j = 0; j <= n; j++) row[j] = j;
  for (uint32_t i = 0; a[i]; i++) {
    uint32_t diagonal = row[0];
    row[0] = i + 1;
    for (uint32_t j = 1; j <= n; j++) {
      uint32_t cost = diagonal + (a[i] != b[j - 1]);
      diagonal = row[j];
      row[j] = VL_MIN(VL_MIN(row[j], row[j - 1]) + 1, cost);
    }
  }
  return row[n];
}

const char *op_row_near(const char *op) {
  const char *best = NULL;
  uint32_t least = (uint32_t)VL_MIN(strlen(op) / 4, 2) + 1; /* more is no slip of the pen */
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    uint32_t d = distance(op, rows[i].op);
    if (d && d < least) {
      least = d;
      best = rows[i].op;
    }
  }
  return best;
}

/* ---- attributes --------------------------------------------------------- */

static const struct {
  char letter;
  Onnx__AttributeProto__AttributeType type;
  const char *name;
} kinds[] = {
    {'i', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, "an int"},
    {'f', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, "a float"},
    {'s', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, "a string"},
    {'t', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, "a tensor"},
    {'g', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH, "a graph"},
    {'I', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, "ints"},
    {'F', ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, "floats"},
    {0, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED, "another kind"},
};

static const char *kind_name(Onnx__AttributeProto__AttributeType t) {
  size_t i = 0;
  while (kinds[i].letter && kinds[i].type != t) i++;
  return kinds[i].name;
}

static size_t kind_of(char letter) {
  size_t i = 0;
  while (kinds[i].letter && kinds[i].letter != letter) i++;
  VL_CHECK(kinds[i].letter, "the op table names a kind that exists");
  return i;
}

/* Does the attribute carry the field that its kind says? */
static bool has_payload(const Onnx__AttributeProto *a) {
  switch (a->type) {
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
    return a->t != NULL;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
    return a->g != NULL;
  default:
    return true;
  }
}

/* "axis, keepdims" */
static const char *attr_names(OnnxNode *x) {
  Str s = {.arena = x->a};
  for (const char *p = x->row->attrs; *p; p += strcspn(p, " "), p += *p == ' ') {
    if (s.n) str_add(&s, ", ");
    str_addn(&s, p, strcspn(p, ":"));
  }
  return str_text(&s);
}

static bool check_attr(OnnxNode *x, const Onnx__AttributeProto *named,
                       const Onnx__AttributeProto *a) {
  size_t n = strlen(named->name);
  for (const char *p = x->row->attrs; *p; p += strcspn(p, " "), p += *p == ' ') {
    if (strncmp(p, named->name, n) != 0 || p[n] != ':') continue;
    size_t k = kind_of(p[n + 1]);
    if (a->type == kinds[k].type && has_payload(a)) return true;
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "attribute '%s' has the wrong kind", named->name);
    diag_found(x->im->d, "%s%s", kind_name(a->type), has_payload(a) ? "" : " without a value");
    diag_expected(x->im->d, "%s", kinds[k].name);
    return false;
  }
  n_fail(x, DIAG_ONNX_ATTRIBUTE, "attribute '%.60s' is not known", named->name);
  diag_expected(x->im->d, "%s", *x->row->attrs ? attr_names(x) : "no attributes");
  return false;
}

static bool check_attrs(OnnxNode *x) {
  for (uint32_t i = 0; i < x->n_attr; i++) {
    const Onnx__AttributeProto *named = x->proto->attribute[i];
    for (uint32_t j = 0; j < i; j++) {
      if (!str_is(x->proto->attribute[j]->name, named->name)) continue;
      return n_fail(x, DIAG_ONNX_DUPLICATE, "attribute '%.60s' comes twice", named->name);
    }
    if (x->attr[i] && !check_attr(x, named, x->attr[i])) return false;
  }
  for (const char *p = x->row->attrs; *p; p += strcspn(p, " "), p += *p == ' ') {
    size_t n = strcspn(p, ":");
    if (p[n + 1] == 0 || p[n + 2] != '!') continue;
    const char *name = arena_strndup(x->a, p, n);
    if (find_attr(x, name)) continue;
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "attribute '%s' is missing", name);
  }
  return true;
}

/* ---- operands ----------------------------------------------------------- */

static bool check_counts(OnnxNode *x) {
  const OnnxOp *r = x->row;
  bool bad = x->n_in > r->max_in && r->max_in != 255;
  for (uint32_t i = 0; i < (r->max_in == 255 ? x->n_in : r->min_in); i++) {
    bad = bad || i >= x->n_in || (!val_ok(x->in[i]) && !x->seq[i]);
  }
  bad = bad || x->n_in < r->min_in;
  if (bad) {
    n_fail(x, DIAG_ONNX_COUNT, "the node has the wrong number of inputs");
    diag_found(x->im->d, "%" PRIu32, x->n_in);
    if (r->max_in == 255) diag_expected(x->im->d, "at least %d, none empty", r->min_in);
    else if (r->min_in == r->max_in) diag_expected(x->im->d, "%d", r->min_in);
    else
      diag_expected(x->im->d, "%d to %d, the first %d not empty", r->min_in, r->max_in, r->min_in);
    return false;
  }
  if (x->n_out == 0 || (x->n_out > r->max_out && r->max_out != 255)) {
    n_fail(x, DIAG_ONNX_COUNT, "the node has the wrong number of outputs");
    diag_found(x->im->d, "%" PRIu32, x->n_out);
    diag_expected(x->im->d, "1 to %d", r->max_out);
    return false;
  }
  return true;
}

static bool type_fits(VlDtype t, char letter) {
  switch (letter) {
  case 'f':
    return dtype_is_float(t);
  case 'i':
    return dtype_is_int(t);
  case 'j':
    return t == VLPC_I32 || t == VLPC_I64;
  case 'l':
    return t == VLPC_I64;
  case 'n':
    return t != VLPC_BOOL;
  case 'b':
    return t == VLPC_BOOL;
  default:
    return true;
  }
}

static const char *letter_name(char letter) {
  static const char *const names[] = {"ff16, bf16, f32 or f64", "ian integer", "ji32 or i64",
                                      "li64", "na number", "bbool"};
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    if (names[i][0] == letter) return names[i] + 1;
  }
  return "any";
}

static bool check_type(OnnxNode *x, uint32_t i, char letter) {
  bool same = letter >= '0' && letter <= '9';
  uint32_t other = same ? (uint32_t)(letter - '0') : 0;
  if (x->seq[i] && x->seq[i]->is_rows && letter != 'r') {
    n_fail(x, DIAG_ONNX_NOT_CONST, "a size would be a product of two sizes known at run time");
    diag_found(x->im->d, "input %" PRIu32 " '%.100s'", i, x->proto->input[i]);
    diag_fix(x->im->d, "export with the text length fixed, only the batch dynamic");
    return false;
  }
  if ((letter == 's') != (x->seq[i] && !x->seq[i]->is_rows)) {
    n_fail(x, DIAG_ONNX_DTYPE, "input %" PRIu32 " has the wrong kind", i);
    diag_found(x->im->d, x->seq[i] ? "a sequence" : "a tensor");
    diag_expected(x->im->d, x->seq[i] ? "a tensor" : "a sequence");
    return false;
  }
  if (letter == 's' || x->seq[i]) return true;
  VlDtype t = n_dtype(x, x->in[i]);
  bool fits =
      same ? !val_ok(n_in(x, other)) || t == n_dtype(x, x->in[other]) : type_fits(t, letter);
  if (fits) return true;
  n_fail(x, DIAG_ONNX_DTYPE, "input %" PRIu32 " has the wrong element type", i);
  diag_found(x->im->d, "%s", dtype_name(t));
  if (same) {
    diag_expected(x->im->d, "%s, as input %" PRIu32, dtype_name(n_dtype(x, x->in[other])), other);
  } else {
    diag_expected(x->im->d, "%s", letter_name(letter));
  }
  return false;
}

bool op_row_check(OnnxNode *x) {
  if (!check_counts(x) || !check_attrs(x)) return false;
  size_t n = strlen(x->row->types);
  for (uint32_t i = 0; i < x->n_in && n; i++) {
    bool is_there = val_ok(x->in[i]) || x->seq[i];
    if (is_there && !check_type(x, i, x->row->types[VL_MIN(i, n - 1)])) return false;
  }
  return true;
}
