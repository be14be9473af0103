/* SPDX-License-Identifier: Apache-2.0 */
/* pickle.c - the opcodes that torch.save writes, protocols 2 to 5, as rows with
** one small function each. */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "checkpoint/pickle_int.h"

enum { NAME_MAX_BYTES = 256 };

VlStatus pickle_bad(const Pickle *p, const char *what) {
  const char *place = arena_printf(p->a, "%s, byte %" PRIu64, p->where.place, p->op);
  return diag_error(p->d, DIAG_CHECKPOINT, (DiagAt){p->where.file, place}, "%s", what);
}

PickleValue *pickle_new(const Pickle *p, PickleKind kind) {
  PickleValue *v = arena_one(p->a, PickleValue);
  v->kind = kind;
  return v;
}

const char *pickle_kind_text(PickleKind kind) {
  static const char *const text[PICKLE__COUNT] = {
      "None",   "a truth value", "a whole number",        "a number",  "a text",   "a tuple",
      "a list", "a dictionary",  "a class or a function", "a storage", "a tensor", "an object"};
  return text[kind];
}

/* ---- bytes -------------------------------------------------------------- */

static VlStatus take(Pickle *p, uint64_t n, const uint8_t **out) {
  if (n > p->n - p->pos) return pickle_bad(p, "ends inside an opcode");
  *out = p->at + p->pos;
  p->pos += n;
  return VLPC_OK;
}

/* A little-endian number of n ≤ 8 bytes. */
static VlStatus take_number(Pickle *p, uint32_t n, uint64_t *out) {
  const uint8_t *b = NULL;
  VL_TRY(take(p, n, &b));
  *out = 0;
  while (n-- > 0) *out = *out << 8 | b[n];
  return VLPC_OK;
}

/* Bytes up to a line feed, which is taken too. */
static VlStatus take_line(Pickle *p, const char **out, uint32_t *n) {
  *out = (const char *)p->at + p->pos;
  uint64_t most = VL_MIN(p->n - p->pos, (uint64_t)NAME_MAX_BYTES);
  const char *end = most ? memchr(*out, '\n', (size_t)most) : NULL;
  if (!end) return pickle_bad(p, "a name has no end");
  *n = (uint32_t)(end - *out);
  p->pos += *n + 1u;
  return VLPC_OK;
}

static bool is_text(const char *s, uint64_t n) {
  for (uint64_t i = 0; i < n;) {
    size_t len = s[i] ? utf8_length(s + i, (size_t)(n - i)) : 0;
    if (len == 0) return false;
    i += len;
  }
  return true;
}

/* ---- stack -------------------------------------------------------------- */

static VlStatus push(Pickle *p, PickleValue *v) {
  *vec_push(p->a, &p->stack) = v;
  return VLPC_OK;
}

/* Values above the last mark. */
static uint32_t above(const Pickle *p) {
  return p->stack.n - (p->mark.n ? p->mark.at[p->mark.n - 1] : 0);
}

static VlStatus pop(Pickle *p, PickleValue **out) {
  if (above(p) == 0) return pickle_bad(p, "takes a value that is not there");
  *out = p->stack.at[--p->stack.n];
  return VLPC_OK;
}

static VlStatus top(const Pickle *p, PickleValue **out) {
  if (above(p) == 0) return pickle_bad(p, "takes a value that is not there");
  *out = p->stack.at[p->stack.n - 1];
  return VLPC_OK;
}

/* The values above the last mark, which goes; they hold until the next push. */
static VlStatus pop_mark(Pickle *p, PickleValue ***out, uint32_t *n) {
  if (p->mark.n == 0) return pickle_bad(p, "takes values up to a mark that is not there");
  *n = above(p);
  p->stack.n = p->mark.at[--p->mark.n];
  *out = p->stack.at + p->stack.n;
  return VLPC_OK;
}

static void add_item(Pickle *p, PickleValue *to, PickleValue *v) {
  to->as.item = vec_grow(p->a, to->as.item, to->n, &to->cap, sizeof *to->as.item);
  to->as.item[to->n++] = v;
}

/* ---- opcodes: values ---------------------------------------------------- */

static VlStatus push_number(Pickle *p, PickleKind kind, int64_t i) {
  PickleValue *v = pickle_new(p, kind);
  v->as.i = i;
  return push(p, v);
}

static VlStatus op_none(Pickle *p) { return push(p, pickle_new(p, PICKLE_none)); }
static VlStatus op_true(Pickle *p) { return push_number(p, PICKLE_bool, 1); }
static VlStatus op_false(Pickle *p) { return push_number(p, PICKLE_bool, 0); }

static VlStatus op_int4(Pickle *p) {
  uint64_t v = 0;
  VL_TRY(take_number(p, 4, &v));
  return push_number(p, PICKLE_int, (int32_t)(uint32_t)v);
}
static VlStatus op_int1(Pickle *p) {
  uint64_t v = 0;
  VL_TRY(take_number(p, 1, &v));
  return push_number(p, PICKLE_int, (int64_t)v);
}
static VlStatus op_int2(Pickle *p) {
  uint64_t v = 0;
  VL_TRY(take_number(p, 2, &v));
  return push_number(p, PICKLE_int, (int64_t)v);
}
static VlStatus op_long1(Pickle *p) {
  uint64_t n = 0, v = 0;
  VL_TRY(take_number(p, 1, &n));
  if (n > 8) return pickle_bad(p, "a whole number has more than 64 bits");
  VL_TRY(take_number(p, (uint32_t)n, &v));
  if (n > 0 && n < 8 && v >> (8 * n - 1)) v |= UINT64_MAX << (8 * n);
  return push_number(p, PICKLE_int, (int64_t)v);
}
static VlStatus op_real(Pickle *p) {
  const uint8_t *b = NULL;
  uint64_t bits = 0;
  VL_TRY(take(p, 8, &b));
  for (int i = 0; i < 8; i++) bits = bits << 8 | b[i]; /* big-endian */
  PickleValue *v = pickle_new(p, PICKLE_real);
  memcpy(&v->as.f, &bits, sizeof bits);
  return push(p, v);
}

static VlStatus push_text(Pickle *p, uint32_t length_bytes) {
  uint64_t n = 0;
  const uint8_t *s = NULL;
  VL_TRY(take_number(p, length_bytes, &n));
  VL_TRY(take(p, n, &s));
  if (!is_text((const char *)s, n)) return pickle_bad(p, "a text is not UTF-8 or holds a NUL");
  PickleValue *v = pickle_new(p, PICKLE_text);
  v->as.text = arena_strndup(p->a, (const char *)s, (size_t)n);
  return push(p, v);
}
static VlStatus op_text1(Pickle *p) { return push_text(p, 1); }
static VlStatus op_text4(Pickle *p) { return push_text(p, 4); }

static VlStatus op_empty_tuple(Pickle *p) { return push(p, pickle_new(p, PICKLE_tuple)); }
static VlStatus op_empty_list(Pickle *p) { return push(p, pickle_new(p, PICKLE_list)); }
static VlStatus op_empty_dict(Pickle *p) { return push(p, pickle_new(p, PICKLE_dict)); }

/* ---- opcodes: collections ----------------------------------------------- */

static VlStatus push_tuple(Pickle *p, PickleValue **item, uint32_t n) {
  PickleValue *v = pickle_new(p, PICKLE_tuple);
  v->as.item = arena_array(p->a, PickleValue *, n);
  if (n) memcpy(v->as.item, item, n * sizeof *item);
  v->n = v->cap = n;
  return push(p, v);
}

static VlStatus op_mark(Pickle *p) {
  *vec_push(p->a, &p->mark) = p->stack.n;
  return VLPC_OK;
}
static VlStatus op_tuple(Pickle *p) {
  PickleValue **item = NULL;
  uint32_t n = 0;
  VL_TRY(pop_mark(p, &item, &n));
  return push_tuple(p, item, n);
}
static VlStatus small_tuple(Pickle *p, uint32_t n) {
  if (above(p) < n) return pickle_bad(p, "takes a value that is not there");
  p->stack.n -= n;
  return push_tuple(p, p->stack.at + p->stack.n, n);
}
static VlStatus op_tuple1(Pickle *p) { return small_tuple(p, 1); }
static VlStatus op_tuple2(Pickle *p) { return small_tuple(p, 2); }
static VlStatus op_tuple3(Pickle *p) { return small_tuple(p, 3); }

static VlStatus append(Pickle *p, PickleValue *to, PickleValue *const *item, uint32_t n) {
  if (to->kind != PICKLE_list && to->kind != PICKLE_opaque)
    return pickle_bad(p, "appends to what is no list");
  for (uint32_t i = 0; to->kind == PICKLE_list && i < n; i++) add_item(p, to, item[i]);
  return VLPC_OK;
}
static VlStatus op_append(Pickle *p) {
  PickleValue *v = NULL, *to = NULL;
  VL_TRY(pop(p, &v));
  VL_TRY(top(p, &to));
  return append(p, to, &v, 1);
}
static VlStatus op_appends(Pickle *p) {
  PickleValue **item = NULL, *to = NULL;
  uint32_t n = 0;
  VL_TRY(pop_mark(p, &item, &n));
  VL_TRY(top(p, &to));
  return append(p, to, item, n);
}

static VlStatus set_items(Pickle *p, PickleValue *to, PickleValue *const *item, uint32_t n) {
  if (to->kind != PICKLE_dict && to->kind != PICKLE_opaque)
    return pickle_bad(p, "sets items of what is no dictionary");
  if (n % 2) return pickle_bad(p, "sets a key without a value");
  for (uint32_t i = 0; to->kind == PICKLE_dict && i < n; i++) add_item(p, to, item[i]);
  return VLPC_OK;
}
static VlStatus op_setitem(Pickle *p) {
  PickleValue *item[2] = {0}, *to = NULL;
  VL_TRY(pop(p, &item[1]));
  VL_TRY(pop(p, &item[0]));
  VL_TRY(top(p, &to));
  return set_items(p, to, item, 2);
}
static VlStatus op_setitems(Pickle *p) {
  PickleValue **item = NULL, *to = NULL;
  uint32_t n = 0;
  VL_TRY(pop_mark(p, &item, &n));
  VL_TRY(top(p, &to));
  return set_items(p, to, item, n);
}

/* ---- opcodes: memo ------------------------------------------------------ */

/* Indices ascend from 0 as values come, so none is beyond the bytes. */
static VlStatus memo_put(Pickle *p, uint64_t i) {
  PickleValue *v = NULL;
  VL_TRY(top(p, &v));
  if (i >= p->n) return pickle_bad(p, "the memo has no such place");
  while (p->memo.n <= i) *vec_push(p->a, &p->memo) = NULL;
  p->memo.at[i] = v;
  return VLPC_OK;
}
static VlStatus memo_get(Pickle *p, uint64_t i) {
  if (i >= p->memo.n || !p->memo.at[i]) return pickle_bad(p, "the memo has nothing in that place");
  return push(p, p->memo.at[i]);
}
static VlStatus op_put1(Pickle *p) {
  uint64_t i = 0;
  VL_TRY(take_number(p, 1, &i));
  return memo_put(p, i);
}
static VlStatus op_put4(Pickle *p) {
  uint64_t i = 0;
  VL_TRY(take_number(p, 4, &i));
  return memo_put(p, i);
}
static VlStatus op_memoize(Pickle *p) { return memo_put(p, p->memo.n); }
static VlStatus op_get1(Pickle *p) {
  uint64_t i = 0;
  VL_TRY(take_number(p, 1, &i));
  return memo_get(p, i);
}
static VlStatus op_get4(Pickle *p) {
  uint64_t i = 0;
  VL_TRY(take_number(p, 4, &i));
  return memo_get(p, i);
}

/* ---- opcodes: names and calls ------------------------------------------- */

static VlStatus push_global(Pickle *p, const char *module, uint32_t n, const char *name,
                            uint32_t n_name) {
  if (!is_text(module, n) || !is_text(name, n_name))
    return pickle_bad(p, "a text is not UTF-8 or holds a NUL");
  PickleValue *v = pickle_new(p, PICKLE_global);
  v->as.text = arena_printf(p->a, "%.*s %.*s", (int)n, module, (int)n_name, name);
  return push(p, v);
}
static VlStatus op_global(Pickle *p) {
  const char *module = NULL, *name = NULL;
  uint32_t n = 0, n_name = 0;
  VL_TRY(take_line(p, &module, &n));
  VL_TRY(take_line(p, &name, &n_name));
  return push_global(p, module, n, name, n_name);
}
static VlStatus op_stack_global(Pickle *p) {
  PickleValue *module = NULL, *name = NULL;
  VL_TRY(pop(p, &name));
  VL_TRY(pop(p, &module));
  if (name->kind != PICKLE_text || module->kind != PICKLE_text ||
      strlen(name->as.text) > NAME_MAX_BYTES || strlen(module->as.text) > NAME_MAX_BYTES)
    return pickle_bad(p, "a class or a function has no name");
  return push_global(p, module->as.text, (uint32_t)strlen(module->as.text), name->as.text,
                     (uint32_t)strlen(name->as.text));
}

static VlStatus op_reduce(Pickle *p) {
  PickleValue *f = NULL, *args = NULL, *v = NULL;
  VL_TRY(pop(p, &args));
  VL_TRY(pop(p, &f));
  VL_TRY(pickle_call(p, f, args, &v));
  return push(p, v);
}
static VlStatus op_newobj(Pickle *p) {
  PickleValue *f = NULL, *args = NULL;
  VL_TRY(pop(p, &args));
  VL_TRY(pop(p, &f));
  if (f->kind != PICKLE_global || args->kind != PICKLE_tuple)
    return pickle_bad(p, "makes an object of what is no class");
  return push(p, pickle_new(p, PICKLE_opaque));
}
/* The state of an object, or attributes of a dictionary: dropped. */
static VlStatus op_build(Pickle *p) {
  PickleValue *state = NULL, *to = NULL;
  VL_TRY(pop(p, &state));
  VL_TRY(top(p, &to));
  if (to->kind == PICKLE_opaque || to->kind == PICKLE_dict) return VLPC_OK;
  return pickle_bad(p, "gives a state to what is no object");
}
static VlStatus op_persid(Pickle *p) {
  PickleValue *id = NULL, *v = NULL;
  VL_TRY(pop(p, &id));
  VL_TRY(pickle_storage(p, id, &v));
  return push(p, v);
}

/* ---- opcodes: the rest -------------------------------------------------- */

static VlStatus op_proto(Pickle *p) {
  uint64_t version = 0;
  VL_TRY(take_number(p, 1, &version));
  if (p->op != 0) return pickle_bad(p, "names its protocol twice");
  return version >= 2 && version <= 5 ? VLPC_OK : pickle_bad(p, "has no protocol of 2 to 5");
}
static VlStatus op_frame(Pickle *p) {
  uint64_t n = 0;
  VL_TRY(take_number(p, 8, &n));
  return n <= p->n - p->pos ? VLPC_OK : pickle_bad(p, "a frame is longer than the pickle");
}
static VlStatus op_stop(Pickle *p) {
  p->done = true;
  if (p->stack.n != 1 || p->mark.n != 0) return pickle_bad(p, "does not end with one value");
  return p->pos == p->n ? VLPC_OK : pickle_bad(p, "goes on behind its end");
}

typedef VlStatus OpFn(Pickle *p);

static OpFn *const op_row[256] = {
    [0x80] = op_proto,      [0x95] = op_frame,      ['.'] = op_stop,
    ['N'] = op_none,        [0x88] = op_true,       [0x89] = op_false,
    ['J'] = op_int4,        ['K'] = op_int1,        ['M'] = op_int2,
    [0x8a] = op_long1,      ['G'] = op_real,        ['X'] = op_text4,
    [0x8c] = op_text1,      [')'] = op_empty_tuple, [']'] = op_empty_list,
    ['}'] = op_empty_dict,  ['('] = op_mark,        ['t'] = op_tuple,
    [0x85] = op_tuple1,     [0x86] = op_tuple2,     [0x87] = op_tuple3,
    ['a'] = op_append,      ['e'] = op_appends,     ['s'] = op_setitem,
    ['u'] = op_setitems,    ['q'] = op_put1,        ['r'] = op_put4,
    [0x94] = op_memoize,    ['h'] = op_get1,        ['j'] = op_get4,
    ['c'] = op_global,      [0x93] = op_stack_global, ['R'] = op_reduce,
    [0x81] = op_newobj,     ['b'] = op_build,       ['Q'] = op_persid,
};

static VlStatus step(Pickle *p) {
  p->op = p->pos;
  if (p->pos == p->n) return pickle_bad(p, "has no end");
  OpFn *run = op_row[p->at[p->pos++]];
  if (run) return run(p);
  VlStatus s = pickle_bad(p, "an opcode is none of those that checkpoints need");
  diag_found(p->d, "0x%02x", p->at[p->op]);
  return s;
}

VlStatus pickle_read(const uint8_t *at, uint64_t n, DiagAt where, Arena *a, Diag *d,
                     const PickleValue **out) {
  Pickle p = {.at = at, .n = n, .where = where, .a = a, .d = d};
  if (n > PICKLE_MAX_BYTES) {
    VlStatus s = diag_error(d, DIAG_TOO_LARGE, where, "the pickle is too long");
    diag_found(d, "%" PRIu64 " bytes", n);
    diag_expected(d, "at most %u", PICKLE_MAX_BYTES);
    return s;
  }
  while (!p.done) VL_TRY(step(&p));
  *out = p.stack.at[0];
  return VLPC_OK;
}

const PickleValue *pickle_find(const PickleValue *v, const char *key) {
  if (v->kind != PICKLE_dict) return NULL;
  for (uint32_t i = v->n; i >= 2; i -= 2) {
    const PickleValue *k = v->as.item[i - 2];
    if (k->kind == PICKLE_text && strcmp(k->as.text, key) == 0) return v->as.item[i - 1];
  }
  return NULL;
}
