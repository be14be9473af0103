/* SPDX-License-Identifier: Apache-2.0 */
/* parse.c - the text form back to a graph, node for node.
**
** The text is hostile: every count is bounded, names are looked up before they
** are used, and each node's type is inferred and compared with what stands in
** the text.  Nothing is folded or shared, so that printing the result gives the
** text again.  The first error ends the reading.  One function per rule of the
** grammar in docs/ir.md; each returns false after its diagnostic. */
#include <string.h>

#include "ir/graph_int.h"

#define MAX_TEXT ((size_t)1 << 28)
#define MAX_NODES ((uint32_t)1 << 20)
#define MAX_LIST ((uint32_t)1 << 16) /* operands, entries of an attribute */
#define MAX_WORD 4096                /* bytes of a number or size */

typedef struct {
  const char *at, *end;
} Span;

typedef struct {
  Graph *g;
  const char *file, *start, *at, *end;
  BlobTable blobs;
  Diag *d;
  Names *names;      /* of values */
  Names *inputs, *outputs, *points;
  VEC(Val) value;    /* by name id */
  VEC(Span) element; /* of the inline constant being read */
  bool has_elements;
} Parser;

/* ---- errors --------------------------------------------------------------- */

static DiagAt place(const Parser *p, const char *at) {
  uint32_t line = 1;
  const char *first = p->start;
  for (const char *c = p->start; c < at; c++) {
    if (*c != '\n') continue;
    line++;
    first = c + 1;
  }
  unsigned column = (unsigned)(at - first) + 1;
  return (DiagAt){p->file, arena_printf(p->g->arena, "line %u:%u", line, column)};
}

/* What stands at the place, for `found`. */
static const char *shown(const Parser *p, const char *at) {
  size_t n = 0;
  while (at + n < p->end && n < 24 && at[n] != '\n') n++;
  if (at == p->end) return "the end of the text";
  return n == 0 ? "the end of the line" : arena_printf(p->g->arena, "'%.*s'", (int)n, at);
}

/* The false that these return stands for the status. */
static bool fail_expected(Parser *p, const char *expected) {
  VL_IGNORE(diag_error(p->d, DIAG_TEXT_SYNTAX, place(p, p->at), "this is not understood"));
  diag_found(p->d, "%s", shown(p, p->at));
  diag_expected(p->d, "%s", expected);
  return false;
}

static bool fail_name(Parser *p, const char *at, const char *sentence) {
  VL_IGNORE(diag_error(p->d, DIAG_TEXT_NAME, place(p, at), "%s", sentence));
  diag_found(p->d, "%s", shown(p, at));
  return false;
}

static bool fail_limit(Parser *p, const char *what, unsigned long long most) {
  VL_IGNORE(diag_error(p->d, DIAG_TEXT_SIZE, place(p, p->at), "too many %s", what));
  diag_expected(p->d, "at most %llu", most);
  return false;
}

static bool fail_node(Parser *p, const char *at, Why why) {
  const char *text = why.sentence != NULL ? why.sentence : "the node does not fit";
  VL_IGNORE(diag_error(p->d, DIAG_TEXT_NODE, place(p, at), "%s", text));
  if (why.found != NULL) diag_found(p->d, "%s", why.found);
  if (why.expected != NULL) diag_expected(p->d, "%s", why.expected);
  return false;
}

/* ---- words ---------------------------------------------------------------- */

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

/* Blanks and comments (; to the end of the line). */
static void skip(Parser *p) {
  while (p->at < p->end) {
    if (*p->at == ';')
      while (p->at < p->end && *p->at != '\n') p->at++;
    else if (is_space(*p->at)) p->at++;
    else return;
  }
}

static bool take(Parser *p, char c) {
  skip(p);
  if (p->at == p->end || *p->at != c) return false;
  p->at++;
  return true;
}

static bool expect(Parser *p, char c) {
  const char text[] = {'\'', c, '\'', '\0'};
  return take(p, c) || fail_expected(p, text);
}

static Span read_word(Parser *p) {
  skip(p);
  Span s = {p->at, p->at};
  while (s.end < p->end && is_word(*s.end)) s.end++;
  p->at = s.end;
  return s;
}

static size_t length(Span s) { return (size_t)(s.end - s.at); }

static bool is_text(Span s, const char *text) {
  return length(s) == strlen(text) && memcmp(s.at, text, length(s)) == 0;
}

/* A size or number up to , ] } : or a blank; '…' may hold any of them. */
static Span read_item(Parser *p) {
  skip(p);
  Span s = {p->at, p->at};
  for (bool quoted = false; s.end < p->end; s.end++) {
    char c = *s.end;
    if (c == '\'') quoted = !quoted;
    else if (!quoted && (is_space(c) || c == ',' || c == ']' || c == '}' || c == ':')) break;
  }
  p->at = s.end;
  return s;
}

static const char *item_text(Parser *p, Span s) {
  size_t n = VL_MIN(length(s), (size_t)MAX_WORD);
  return arena_strndup(p->g->arena, s.at, n);
}

static bool read_i64(Parser *p, int64_t *out) {
  Span s = read_item(p);
  if (length(s) <= MAX_WORD && parse_i64(item_text(p, s), out)) return true;
  p->at = s.at;
  return fail_expected(p, "an integer");
}

static bool read_f64(Parser *p, double *out) {
  Span s = read_item(p);
  if (length(s) <= MAX_WORD && parse_f64(item_text(p, s), out)) return true;
  p->at = s.at;
  return fail_expected(p, "a number");
}

/* ---- strings -------------------------------------------------------------- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at p->at as UTF-8; NUL and halves of pairs are refused. */
static bool read_code_point(Parser *p, Str *out) {
  unsigned c = 0;
  for (int i = 0; i < 4; i++, p->at++) {
    int d = p->at < p->end ? hex_digit(*p->at) : -1;
    if (d < 0) return false;
    c = c << 4 | (unsigned)d;
  }
  if (c == 0 || (c >= 0xd800 && c < 0xe000)) return false;
  char utf8[3] = {(char)c, 0, 0};
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
  if (n == 2) utf8[0] = (char)(0xc0 | c >> 6);
  if (n == 3) utf8[0] = (char)(0xe0 | c >> 12);
  if (n == 3) utf8[1] = (char)(0x80 | (c >> 6 & 0x3f));
  if (n > 1) utf8[n - 1] = (char)(0x80 | (c & 0x3f));
  str_addn(out, utf8, n);
  return true;
}

/* The character behind a backslash. */
static bool read_escape(Parser *p, Str *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (p->at == p->end) return false;
  char c = *p->at++;
  const char *at = c != '\0' ? strchr(from, c) : NULL;
  if (c == 'u') return read_code_point(p, out);
  if (at != NULL) str_addn(out, &to[at - from], 1);
  return at != NULL;
}

/* Stands for itself in a string. */
static bool is_literal(char c) { return c != '"' && c != '\\' && (unsigned char)c >= 0x20; }

static bool read_string(Parser *p, const char **out) {
  if (!expect(p, '"')) return false;
  Str s = {.arena = p->g->arena};
  while (p->at < p->end && *p->at != '"') {
    const char *first = p->at;
    while (p->at < p->end && is_literal(*p->at)) p->at++;
    str_addn(&s, first, (size_t)(p->at - first));
    if (p->at < p->end && *p->at == '\\') {
      p->at++;
      if (!read_escape(p, &s)) return fail_expected(p, "an escape of JSON");
    } else if (p->at < p->end && *p->at != '"') {
      return fail_expected(p, "an escape instead of a control character");
    }
  }
  *out = str_text(&s);
  return expect(p, '"');
}

/* ---- sizes and types ------------------------------------------------------ */

/* dim_parse makes the symbols it meets: here only declared ones are allowed. */
static bool read_dim(Parser *p, DimId *out) {
  Span s = read_item(p);
  uint32_t n = dim_n_symbols(p->g->dims);
  *out = length(s) <= MAX_WORD ? dim_parse(p->g->dims, s.at, length(s)) : DIM_NONE;
  if (dim_n_symbols(p->g->dims) != n)
    return fail_name(p, s.at, "no symbol of this name is declared");
  p->at = *out != DIM_NONE ? s.end : s.at;
  return *out != DIM_NONE || fail_expected(p, "a size such as 7, batch or 2*batch+1");
}

typedef struct {
  DimId *at;
  uint32_t n, cap;
} DimList;

/* [ … ]; the opening bracket is next. */
static bool read_dims(Parser *p, uint32_t most, DimList *out) {
  if (!expect(p, '[')) return false;
  if (take(p, ']')) return true;
  do {
    DimId d = DIM_NONE;
    if (out->n == most) return fail_limit(p, "sizes", most);
    if (!read_dim(p, &d)) return false;
    *vec_push(p->g->arena, out) = d;
  } while (take(p, ','));
  return expect(p, ']');
}

static bool read_dtype(Parser *p, VlDtype *out) {
  Span s = read_word(p);
  if (dtype_parse(s.at, length(s), out)) return true;
  p->at = s.at;
  return fail_expected(p, "an element type such as f32");
}

static bool read_type(Parser *p, TypeId *out) {
  VlDtype dtype;
  DimList dims = {0};
  if (!read_dtype(p, &dtype) || !read_dims(p, VLPC_MAX_RANK, &dims)) return false;
  *out = ir_type(p->g, dtype, dims.n, dims.at);
  return true;
}

static bool read_symbol(Parser *p) {
  skip(p);
  Span s = read_item(p);
  uint32_t n = dim_n_symbols(p->g->dims);
  DimId d = length(s) <= MAX_WORD ? dim_parse(p->g->dims, s.at, length(s)) : DIM_NONE;
  Dim x = d != DIM_NONE ? dim_get(p->g->dims, d) : (Dim){.c = 1};
  if (x.c == 0 && x.n == 1 && x.term[0].k == 1 && dim_n_symbols(p->g->dims) == n + 1) return true;
  p->at = s.at;
  if (n == DIM_MAX_SYMS) return fail_limit(p, "symbols", DIM_MAX_SYMS);
  return fail_expected(p, "the name of a new symbol");
}

/* ---- attributes ----------------------------------------------------------- */

static bool read_ints(Parser *p, Attr *out) {
  VEC(int64_t) list = {0};
  if (!expect(p, '[')) return false;
  bool more = !take(p, ']');
  while (more) {
    int64_t v = 0;
    if (list.n == MAX_LIST) return fail_limit(p, "entries", MAX_LIST);
    if (!read_i64(p, &v)) return false;
    *vec_push(p->g->arena, &list) = v;
    more = take(p, ',');
    if (!more && !expect(p, ']')) return false;
  }
  *out = attr_ints(out->key, list.at, list.n);
  return true;
}

/* blob#3: the third of the table. */
static bool read_blob(Parser *p, Attr *out) {
  int64_t i = 0;
  Span s = read_word(p);
  if (is_text(s, "xxh3")) {
    p->at = s.at;
    return fail_expected(p, "blob#N (a hash, as the normal form has it, does not hold the bytes)");
  }
  if (!is_text(s, "blob") || !expect(p, '#')) return fail_expected(p, "blob#N");
  const char *at = p->at;
  if (!read_i64(p, &i)) return false;
  if (i < 1 || i > p->blobs.n) return fail_name(p, at, "there is no blob of this number");
  const Blob *b = &p->blobs.at[i - 1];
  *out = attr_blob(ir_blob(p->g, b->data, b->bytes, b->name));
  return true;
}

static bool read_attr_value(Parser *p, Attr *out) {
  VlDtype dtype;
  DimList dims = {0};
  switch (attr_kind(out->key)) {
  case AK_INT: return read_i64(p, &out->i);
  case AK_FLOAT: return read_f64(p, &out->f);
  case AK_INTS: return read_ints(p, out);
  case AK_STR: return read_string(p, &out->str);
  case AK_BLOB: return read_blob(p, out);
  case AK_DTYPE:
    if (!read_dtype(p, &dtype)) return false;
    out->i = (int64_t)dtype;
    return true;
  case AK_DIMS:
    if (!read_dims(p, MAX_LIST, &dims)) return false;
    *out = attr_dims(out->key, dims.at, dims.n);
    return true;
  }
  VL_UNREACHABLE("read_attr_value: no such kind");
}

/* value=[…]: the words are kept until the type is known. */
static bool read_elements(Parser *p) {
  p->has_elements = true;
  if (!expect(p, '[')) return false;
  if (take(p, ']')) return true;
  do {
    Span s = read_item(p);
    if (length(s) == 0 || length(s) > MAX_WORD) return fail_expected(p, "a number");
    *vec_push(p->g->arena, &p->element) = s;
  } while (take(p, ','));
  return expect(p, ']');
}

static bool read_attr(Parser *p, NodeSpec *s, Attr *attr) {
  Span key = read_word(p);
  AttrKey k = A_none;
  if (s->op == OP_const && is_text(key, "value")) return expect(p, '=') && read_elements(p);
  if (!attr_find(key.at, length(key), &k)) {
    p->at = key.at;
    return fail_expected(p, "the name of an attribute");
  }
  if (s->n_attr == ATTR_MAX) return fail_limit(p, "attributes", ATTR_MAX);
  attr[s->n_attr] = (Attr){.key = k};
  return expect(p, '=') && read_attr_value(p, &attr[s->n_attr++]);
}

static bool read_attrs(Parser *p, NodeSpec *s, Attr *attr) {
  p->element.n = 0;
  p->has_elements = false;
  if (!take(p, '{') || take(p, '}')) return true;
  do {
    if (!read_attr(p, s, attr)) return false;
  } while (take(p, ','));
  return expect(p, '}');
}

/* ---- values --------------------------------------------------------------- */

/* The word behind %. */
static bool read_value_name(Parser *p, Span *out) {
  if (!expect(p, '%')) return false;
  const char *at = p->at;
  *out = read_word(p);
  if (out->at == at && length(*out) > 0) return true;
  p->at = at;
  return fail_expected(p, "the name of a value behind %");
}

static bool read_value(Parser *p, Val *out) {
  Span s;
  uint32_t id = 0;
  if (!read_value_name(p, &s)) return false;
  if (!names_find(p->names, s.at, length(s), &id))
    return fail_name(p, s.at - 1, "no value of this name stands before");
  *out = p->value.at[id];
  return true;
}

typedef struct {
  Val *at;
  uint32_t n, cap;
} ValList;

static bool read_operands(Parser *p, ValList *out) {
  skip(p);
  if (p->at == p->end || (*p->at != '%' && *p->at != '_')) return true;
  do {
    Val v = VAL_NONE;
    if (out->n == MAX_LIST) return fail_limit(p, "operands", MAX_LIST);
    if (!take(p, '_') && !read_value(p, &v)) return false;
    *vec_push(p->g->arena, out) = v;
  } while (take(p, ','));
  return true;
}

/* ---- constants ------------------------------------------------------------ */

static bool store_element(Parser *p, VlDtype dtype, void *data, uint32_t i) {
  const char *text = item_text(p, p->element.at[i]);
  int64_t whole = 0;
  double real = 0;
  bool is_float = dtype_is_float(dtype);
  if (is_float ? !parse_f64(text, &real) : !parse_i64(text, &whole)) {
    p->at = p->element.at[i].at;
    return fail_expected(p, is_float ? "a number" : "an integer");
  }
  if (is_float) dtype_store(dtype, data, i, real);
  else dtype_store_i64(dtype, data, i, whole);
  return true;
}

/* The elements read last as a blob of the type. */
static bool store_elements(Parser *p, TypeId type, BlobId *out) {
  VlDtype dtype = ir_type_get(p->g, type)->dtype;
  uint64_t bytes = (uint64_t)p->element.n * dtype_size(dtype);
  void *data = arena_array_bytes(p->g->arena, bytes, 1);
  for (uint32_t i = 0; i < p->element.n; i++)
    if (!store_element(p, dtype, data, i)) return false;
  *out = graph_blob_own(p->g, data, bytes, NULL);
  return true;
}

static bool finish_const(Parser *p, NodeSpec *s, Attr *attr) {
  BlobId b = {0};
  if (s->op != OP_const || !p->has_elements) return true;
  if (s->n_attr == ATTR_MAX) return fail_limit(p, "attributes", ATTR_MAX);
  if (!store_elements(p, s->type, &b)) return false;
  attr[s->n_attr++] = attr_blob(b);
  return true;
}

/* ---- nodes ---------------------------------------------------------------- */

static bool read_place(Parser *p, LocId *out) {
  Loc l = {.file = p->file, .index = -1};
  int64_t index = 0;
  skip(p);
  if (p->at < p->end && *p->at == '"') {
    if (!read_string(p, &l.name)) return false;
  } else {
    if (!read_i64(p, &index)) return false;
    l.index = index >= 0 && index <= INT32_MAX ? (int32_t)index : -1;
  }
  *out = ir_loc_merge(p->g, *out, ir_loc_add(p->g, l));
  return true;
}

static bool read_places(Parser *p) {
  LocId l = {0};
  while (take(p, '@'))
    if (!read_place(p, &l)) return false;
  ir_set_loc(p->g, l);
  return true;
}

static bool read_op(Parser *p, OpCode *out) {
  Span s = read_word(p);
  if (op_find(s.at, length(s), out)) return true;
  p->at = s.at;
  return fail_expected(p, "the name of an op");
}

/* Each input, output and point has a name of its own among its kind. */
static bool add_name(Parser *p, Names *names, const char *name, const char *at) {
  uint32_t n = names_count(names);
  if (names_add(names, name, strlen(name)) == n) return true;
  return fail_name(p, at, "this name stands before");
}

/* Adds the node that was read and holds its type against the text's. */
static bool add_node(Parser *p, const NodeSpec *s, TypeId stated, const char *at, Val *out) {
  *out = graph_node_exact(p->g, s);
  if (out->i == 0) return fail_node(p, at, ir_why(p->g));
  if (ir_type_id(p->g, *out).i != stated.i) {
    const char *have = type_text(p->g, ir_type_get(p->g, stated));
    return fail_node(p, at, (Why){"the stated type is not the node's", have,
                                  type_text(p->g, ir_type_of(p->g, *out))});
  }
  if (s->op != OP_input) return true;
  const char *name = ir_attr(p->g, *out, A_name)->str;
  *vec_push(p->g->arena, &p->g->input) = (Named){name, *out};
  return add_name(p, p->inputs, name, at);
}

/* op operands {attributes} : type @"place" */
static bool read_node(Parser *p, Val *out) {
  Attr attr[ATTR_MAX];
  NodeSpec s = {.attr = attr};
  ValList in = {0};
  TypeId type = {0};
  skip(p);
  const char *at = p->at;
  if (!read_op(p, &s.op) || !read_operands(p, &in) || !read_attrs(p, &s, attr)) return false;
  if (!expect(p, ':') || !read_type(p, &type)) return false;
  s.n_in = in.n;
  s.in = in.at;
  if (op_info(s.op)->kind == K_SOURCE && s.op != OP_iota) s.type = type;
  return finish_const(p, &s, attr) && read_places(p) && add_node(p, &s, type, at, out);
}

/* %name = node */
static bool read_assignment(Parser *p) {
  Span name;
  Val v;
  uint32_t id = 0;
  if (p->g->node.n > MAX_NODES) return fail_limit(p, "nodes", MAX_NODES);
  if (!read_value_name(p, &name)) return false;
  if (names_find(p->names, name.at, length(name), &id))
    return fail_name(p, name.at - 1, "a value of this name stands before");
  if (!expect(p, '=') || !read_node(p, &v)) return false;
  names_add(p->names, name.at, length(name));
  *vec_push(p->g->arena, &p->value) = v;
  return true;
}

/* out "name" %value, point "name" %value */
static bool read_named(Parser *p, bool is_output) {
  const char *name = NULL;
  Val v = VAL_NONE;
  skip(p);
  const char *at = p->at;
  if (!read_string(p, &name) || !read_value(p, &v)) return false;
  if (!add_name(p, is_output ? p->outputs : p->points, name, at)) return false;
  if (is_output) ir_output(p->g, name, v);
  else ir_point(p->g, name, v);
  return true;
}

/* ---- the whole ------------------------------------------------------------ */

static bool read_line(Parser *p) {
  if (p->at < p->end && *p->at == '%') return read_assignment(p);
  Span s = read_word(p);
  if (is_text(s, "sym")) return read_symbol(p);
  if (is_text(s, "out")) return read_named(p, true);
  if (is_text(s, "point")) return read_named(p, false);
  p->at = s.at;
  return fail_expected(p, "sym, %name = …, out, point or }");
}

static bool read_graph(Parser *p) {
  Span s = read_word(p);
  if (!is_text(s, "graph")) {
    p->at = s.at;
    return fail_expected(p, "graph {");
  }
  if (!expect(p, '{')) return false;
  while (!take(p, '}'))
    if (!read_line(p)) return false;
  skip(p);
  return p->at == p->end || fail_expected(p, "the end of the text");
}

static Parser parser_new(Arena *a, const char *file, const char *text, Diag *d) {
  Parser p = {.g = ir_graph_new(a), .file = file, .start = text, .at = text, .end = text, .d = d};
  p.names = names_new(a);
  p.inputs = names_new(a);
  p.outputs = names_new(a);
  p.points = names_new(a);
  return p;
}

Graph *ir_parse(Arena *a, const char *file, const char *text, size_t n, BlobTable blobs, Diag *d) {
  Parser p = parser_new(a, file, text, d);
  if (n > MAX_TEXT) {
    fail_limit(&p, "bytes", MAX_TEXT);
    return NULL;
  }
  p.end = text + n;
  p.blobs = blobs;
  for (uint32_t i = 0; i < blobs.n; i++)
    ir_blob(p.g, blobs.at[i].data, blobs.at[i].bytes, blobs.at[i].name);
  if (!read_graph(&p)) return NULL;
  ir_set_loc(p.g, (LocId){0});
  return p.g;
}
