/* SPDX-License-Identifier: Apache-2.0 */
/* test_hostile.c - files that break the format, ask for too much or reach for
** what they must not: each gives an error with a code, none a crash.  Meant to
** run under ASan and UBSan as well. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "onnx_build.h"
#include "onnx_run.h"

static const char *path_of(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
  return path;
}

/* Imports; a failure must say something with a code. */
static VlStatus import_status(const char *path, const char *code) {
  Imported x = imported_new(path, NULL);
  VlStatus st = x.status;
  if (st != VLPC_OK) {
    assert_null(x.g);
    assert_true(diag_count(x.d) > 0);
    assert_int_equal(st, diag_status(x.d));
    if (!strstr(diag_text(x.d), code)) fail_msg("expected %s:\n%s", code, diag_text(x.d));
  }
  imported_free(&x);
  return st;
}

static VlStatus import_bytes(const void *p, size_t n, const char *code) {
  write_file(path_of("hostile.onnx"), p, n);
  return import_status(path_of("hostile.onnx"), code);
}

static void expect_error(const void *p, size_t n, const char *code) {
  assert_int_not_equal(import_bytes(p, n, code), VLPC_OK);
}

/* ---- cut and flipped ---------------------------------------------------- */

/* A model with every kind of part, below 4 KiB. */
static uint8_t *small_model(Arena *a, size_t *n) {
  Build b = build_new(a, 17);
  static const int64_t axes[2] = {0, 1}, shape[2] = {-1, 8};
  build_input(&b, "x", ONNX_FLOAT, "batch,2,4");
  build_ints(&b, "shape", "2", shape, 2);
  build_ints(&b, "axes", "2", axes, 2);
  build_floats(&b, "w", "8,40", 0.25f, 320);
  build_node(&b, "Reshape", "x,shape", "r");
  build_node(&b, "MatMul", "r,w", "m");
  Onnx__FunctionProto *f = build_function(&b, "local", "Twice", "p", "q");
  build_function_node(&b, f, "Add", "p,p", "q");
  build_node(&b, "Twice", "m", "t")->domain = arena_strdup(a, "local");
  build_attr_int(a, build_node(&b, "Softmax", "t", "s"), "axis", 1);
  build_node(&b, "ReduceSum", "s,axes", "y");
  build_output(&b, "y", ONNX_FLOAT, "1,1");
  return build_bytes(&b, n);
}

static void test_a_model_cut_anywhere_is_an_error(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  size_t n = 0;
  uint8_t *p = small_model(a, &n);
  assert_true(n < 4096 && n > 1400);
  assert_int_equal(import_bytes(p, n, ""), VLPC_OK);
  size_t accepted = 0;
  for (size_t k = 0; k < n; k++) accepted += import_bytes(p, k, "error[E") == VLPC_OK;
  /* A cut between top-level fields may leave a model: here before the functions
  ** (then their call is unknown) or the metadata, of which there are none. */
  assert_int_equal(accepted, 0);
  arena_free(a);
}

static void test_a_flipped_byte_never_crashes(void **state) {
  (void)state;
  static const uint8_t with[] = {0x01, 0x80, 0xff};
  Arena *a = arena_new(0);
  size_t n = 0;
  uint8_t *p = small_model(a, &n);
  for (size_t k = 0; k < n; k++) {
    uint8_t old = p[k];
    for (size_t i = 0; i < sizeof with; i++) {
      p[k] = old ^ with[i];
      VL_IGNORE(import_bytes(p, n, "error[E")); /* either is fine, a crash is not */
    }
    p[k] = old;
  }
  arena_free(a);
}

/* ---- depth and size ----------------------------------------------------- */

typedef struct {
  uint8_t *at; /* filled from the end */
  size_t room, n;
} Backwards;

static void put_front(Backwards *b, uint32_t tag, size_t len) {
  uint8_t head[16];
  uint32_t n = 0;
  for (; tag >= 0x80; tag >>= 7) head[n++] = (uint8_t)(tag | 0x80);
  head[n++] = (uint8_t)tag;
  for (; len >= 0x80; len >>= 7) head[n++] = (uint8_t)(len | 0x80);
  head[n++] = (uint8_t)len;
  b->n += n;
  memcpy(b->at + b->room - b->n, head, n);
}

enum { LEN = 2 };

/* `depth` rounds of nested fields, wrapped in the path from the model. */
static void nested(const uint8_t *round, size_t n_round, const uint8_t *path, size_t n_path,
                   int depth) {
  Backwards b = {malloc(16 << 20), 16 << 20, 0};
  for (int i = 0; i < depth; i++) {
    for (size_t k = n_round; k-- > 0;) put_front(&b, (uint32_t)round[k] << 3 | LEN, b.n);
  }
  for (size_t k = n_path; k-- > 0;) put_front(&b, (uint32_t)path[k] << 3 | LEN, b.n);
  expect_error(b.at + b.room - b.n, b.n, "E0202");
  free(b.at);
}

static void test_deep_nesting_is_refused(void **state) {
  (void)state;
  /* node → attribute → graph */
  nested((const uint8_t[]){1, 5, 6}, 3, (const uint8_t[]){7}, 1, 100000);
  /* sequence of sequence of … : input's type */
  nested((const uint8_t[]){4, 1}, 2, (const uint8_t[]){7, 11, 2}, 3, 100000);
  /* in a function's body */
  nested((const uint8_t[]){5, 6, 1}, 3, (const uint8_t[]){25, 7}, 2, 100000);
  /* list of graphs */
  nested((const uint8_t[]){1, 5, 11}, 3, (const uint8_t[]){7}, 1, 1000);
}

static void test_many_messages_are_refused(void **state) {
  (void)state;
  Backwards b = {malloc(10 << 20), 10 << 20, 0};
  for (int i = 0; i < 4100000; i++) {
    b.n += 2;
    b.at[b.room - b.n] = 1 << 3 | LEN;
    b.at[b.room - b.n + 1] = 0;
  }
  put_front(&b, 7 << 3 | LEN, b.n);
  expect_error(b.at + b.room - b.n, b.n, "E0204");
  free(b.at);
}

static void test_malformed_wire_data_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t n;
  } all[] = {
      {"", 0},
      {"\x0b\x08", 2},                         /* a group */
      {"\x0c", 1},                             /* the end of one */
      {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, /* varint of 11 bytes */
      {"\x3a\xff\xff\xff\xff\x0f", 6},         /* length 2^32 - 1 */
      {"\x3a\xff\xff\xff\xff\xff\x0f", 7},     /* length in 6 bytes */
      {"\x00\x00", 2},                         /* field 0 */
      {"\x38\x01", 2},                         /* graph as a number */
      {"\x3a\x00\x3a\x00", 4},                 /* two graphs */
      {"\x12\x02\xc3\x28", 4},                 /* producer that is not UTF-8 */
      {"\x12\x02\x61\x00", 4},                 /* … with a NUL */
      {"\x3a\x08\x2a\x06\x22\x03\x00\x00\x00", 9}, /* 3 bytes of floats */
      {"GGUF\x03\x00\x00\x00", 8},
  };
  for (size_t i = 0; i < VL_COUNT(all); i++) expect_error(all[i].bytes, all[i].n, "E0201");
}

static void test_calls_that_double_are_cut_off(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Build b = build_new(a, 17);
  build_input(&b, "x", ONNX_FLOAT, "2");
  for (int i = 0; i < 40; i++) {
    Onnx__FunctionProto *f = build_function(&b, "l", arena_printf(a, "F%d", i), "p", "q");
    const char *callee = i ? arena_printf(a, "F%d", i - 1) : "Abs";
    const char *domain = i ? "l" : "";
    build_function_node(&b, f, callee, "p", "t")->domain = arena_strdup(a, domain);
    build_function_node(&b, f, callee, "t", "q")->domain = arena_strdup(a, domain);
  }
  build_node(&b, "F39", "x", "y")->domain = arena_strdup(a, "l");
  build_output(&b, "y", ONNX_FLOAT, "2");
  size_t n = 0;
  uint8_t *p = build_bytes(&b, &n);
  expect_error(p, n, "E0204");
  arena_free(a);
}

/* ---- external data ------------------------------------------------------ */

static void external_case(const char *key[2], const char *value[2], const char *code) {
  Arena *a = arena_new(0);
  Build b = build_new(a, 17);
  Onnx__TensorProto *t = build_tensor(a, "w", ONNX_FLOAT, "2", "", 0);
  for (int i = 0; i < 2 && key[i]; i++) build_external(t, a, key[i], value[i]);
  build_initializer(a, b.graph, t);
  build_node(&b, "Abs", "w", "y");
  build_output(&b, "y", ONNX_FLOAT, "2");
  size_t n = 0;
  uint8_t *p = build_bytes(&b, &n);
  if (*code) expect_error(p, n, code);
  else assert_int_equal(import_bytes(p, n, code), VLPC_OK);
  arena_free(a);
}

static void test_external_data_cannot_leave_the_folder(void **state) {
  (void)state;
  char outside[300], target[320];
  snprintf(outside, sizeof outside, "%s-outside", scratch_folder());
  mkdir(outside, 0700);
  snprintf(target, sizeof target, "%s/secret", outside);
  write_file(target, "12345678", 8);
  write_file(path_of("good"), "12345678", 8);
  write_file(path_of("empty"), "", 0);
  mkdir(path_of("sub"), 0700);
  assert_int_equal(symlink(target, path_of("link")), 0);
  assert_int_equal(symlink(outside, path_of("dirlink")), 0);
  assert_int_equal(symlink("good", path_of("inner")), 0);
  assert_int_equal(symlink("loop", path_of("loop")), 0);
  assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
  char climb[400];
  snprintf(climb, sizeof climb, "../%s/secret", strrchr(outside, '/') + 1);
  const struct {
    const char *location, *key, *value, *code;
  } all[] = {
      {"good", NULL, NULL, ""},
      {"./sub/../good", NULL, NULL, "E0216"},
      {"inner", NULL, NULL, ""},
      {climb, NULL, NULL, "E0216"},
      {"..", NULL, NULL, "E0216"},
      {"sub/../../x", NULL, NULL, "E0216"},
      {target, NULL, NULL, "E0216"},
      {"", NULL, NULL, "E0216"},
      {"link", NULL, NULL, "E0216"},
      {"dirlink/secret", NULL, NULL, "E0216"},
      {"loop", NULL, NULL, "E0216"},
      {"/proc/self/environ", NULL, NULL, "E0216"},
      {"missing", NULL, NULL, "E0223"},
      {"good/x", NULL, NULL, "E0223"},
      {"pipe", NULL, NULL, "E0106"},
      {"sub", NULL, NULL, "E0106"},
      {".", NULL, NULL, "E0106"},
      {"empty", NULL, NULL, "E0217"},
      {"good", "offset", "1", "E0217"},
      {"good", "offset", "9223372036854775807", "E0217"},
      {"good", "offset", "-1", "E0224"},
      {"good", "offset", "99999999999999999999", "E0224"},
      {"good", "offset", "0x0", "E0224"},
      {"good", "length", "1125899906842624", "E0217"},
      {"good", "length", "4", "E0215"},
      {"good", "length", "", "E0224"},
      {"good", "basepath", "/", "E0224"},
      {"good", "location", "good", "E0224"},
      {"good", "checksum", "anything", ""},
  };
  for (size_t i = 0; i < VL_COUNT(all); i++) {
    const char *key[2] = {"location", all[i].key}, *value[2] = {all[i].location, all[i].value};
    external_case(key, value, all[i].code);
  }
  external_case((const char *[2]){"offset", NULL}, (const char *[2]){"0", NULL}, "E0224");
  unlink(target);
  rmdir(outside);
}

/* ---- tensors ------------------------------------------------------------ */

static void tensor_case(int dtype, const char *sizes, size_t bytes, const char *code) {
  Arena *a = arena_new(0);
  Build b = build_new(a, 17);
  build_input(&b, "x", ONNX_FLOAT, "2");
  build_initializer(a, b.graph, build_tensor(a, "w", dtype, sizes, arena_alloc(a, bytes), bytes));
  build_node(&b, "Abs", "x", "y");
  build_output(&b, "y", ONNX_FLOAT, "2");
  size_t n = 0;
  uint8_t *p = build_bytes(&b, &n);
  expect_error(p, n, code);
  arena_free(a);
}

static void test_tensors_that_contradict_themselves_are_refused(void **state) {
  (void)state;
  tensor_case(ONNX_FLOAT, "2,3", 23, "E0215");
  tensor_case(ONNX_FLOAT, "2,3", 4096, "E0215");
  tensor_case(ONNX_FLOAT, "-1", 4, "E0215");
  tensor_case(ONNX_FLOAT, "4294967296,4294967296", 4, "E0215");
  tensor_case(ONNX_FLOAT, "0,9223372036854775807,9223372036854775807", 0, "E0215");
  tensor_case(ONNX_FLOAT, "9223372036854775807", 4, "E0215");
  tensor_case(ONNX_FLOAT, "1,1,1,1,1,1,1,1,1", 4, "E0218");
  tensor_case(0, "1", 4, "E0215");
  for (int t = 17; t < 40; t++) tensor_case(t, "1", 4, "E0218");
  tensor_case(8, "1", 4, "E0218");
  tensor_case(-1, "1", 4, "E0218");
  tensor_case(INT32_MAX, "1", 4, "E0218");
}

static void test_a_segment_cannot_be_forged(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Build b = build_new(a, 17);
  Onnx__TensorProto *t = build_tensor(a, "w", ONNX_FLOAT, "2", "", 0);
  Onnx__TensorProto__Segment s = ONNX__TENSOR_PROTO__SEGMENT__INIT;
  s.has_begin = s.has_end = true;
  s.begin = 1 << 30;
  s.end = s.begin + 8;
  t->segment = &s;
  build_initializer(a, b.graph, t);
  build_node(&b, "Abs", "w", "y");
  build_output(&b, "y", ONNX_FLOAT, "2");
  size_t n = 0;
  uint8_t *p = build_bytes(&b, &n);
  expect_error(p, n, "E0218");
  arena_free(a);
}

/* ---- every operator, mutated -------------------------------------------- */

typedef struct {
  Arena *a;
  Onnx__ModelProto *m;
  int tried, refused;
} Mutant;

static void try_model(Mutant *t) {
  size_t n = onnx__model_proto__get_packed_size(t->m);
  uint8_t *p = malloc(n + 1);
  onnx__model_proto__pack(t->m, p);
  t->tried++;
  t->refused += import_bytes(p, n, "error[E") != VLPC_OK;
  free(p);
}

static void mutate_types(Mutant *t) {
  static const int types[] = {1, 2, 6, 7, 8, 9, 10, 11, 16, 23, 99, -1};
  for (size_t i = 0; i < t->m->graph->n_input; i++) {
    Onnx__TypeProto *type = t->m->graph->input[i]->type;
    if (type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) continue;
    int32_t old = type->tensor_type->elem_type;
    for (size_t k = 0; k < VL_COUNT(types); k++) {
      type->tensor_type->elem_type = types[k];
      try_model(t);
    }
    type->tensor_type->elem_type = old;
  }
}

static void mutate_sizes(Mutant *t) {
  static const int64_t sizes[] = {0, 1, 2, 3, -1, (int64_t)1 << 31, (int64_t)1 << 62, INT64_MAX,
                                  INT64_MIN};
  for (size_t i = 0; i < t->m->graph->n_input; i++) {
    Onnx__TypeProto *type = t->m->graph->input[i]->type;
    if (type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type->shape)
      continue;
    Onnx__TensorShapeProto *s = type->tensor_type->shape;
    for (size_t d = 0; d < s->n_dim; d++) {
      int64_t old = s->dim[d]->dim_value;
      for (size_t k = 0; k < VL_COUNT(sizes); k++) {
        s->dim[d]->dim_value = sizes[k];
        try_model(t);
      }
      s->dim[d]->dim_value = old;
      Onnx__TensorShapeProto__Dimension__ValueCase was = s->dim[d]->value_case;
      s->dim[d]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET;
      try_model(t);
      s->dim[d]->value_case = was;
    }
    size_t rank = s->n_dim;
    for (s->n_dim = 0; s->n_dim < rank; s->n_dim++) try_model(t);
    Onnx__TensorShapeProto__Dimension **old = s->dim, *more[9];
    for (size_t k = 0; k < 9 && rank; k++) more[k] = old[k % rank];
    s->dim = more;
    for (s->n_dim = rank + 1; s->n_dim <= 9 && rank; s->n_dim++) try_model(t);
    s->dim = old;
    s->n_dim = rank;
  }
}

static void mutate_inputs(Mutant *t, Onnx__NodeProto *n) {
  size_t old = n->n_input;
  char *name[40], **was = n->input, empty[1] = "";
  for (n->n_input = 0; n->n_input < old; n->n_input++) try_model(t);
  for (size_t i = 0; i < 40; i++) name[i] = old ? was[i % old] : empty;
  n->input = name;
  for (n->n_input = old + 1; n->n_input < old + 4 && n->n_input < 40; n->n_input++) try_model(t);
  n->n_input = old;
  for (size_t i = 0; i < old && i < 40; i++) {
    for (size_t k = 0; k <= old && k < 40; k++) {
      char *keep = name[i];
      name[i] = k < old ? was[k] : empty;
      try_model(t);
      name[i] = keep;
    }
  }
  n->input = was;
  size_t outs = n->n_output;
  n->n_output = 0;
  try_model(t);
  n->n_output = outs;
}

static void mutate_attr(Mutant *t, Onnx__AttributeProto *x) {
  static const int64_t ints[] = {0, 1, -1, 2, -2, 7, -9, 1 << 20, INT32_MAX, INT64_MAX, INT64_MIN};
  static const float floats[] = {0, -1, 1e30f, -1e30f, 1e-30f};
  Onnx__AttributeProto keep = *x;
  for (int k = 0; k < 15; k++) {
    x->has_type = true;
    x->type = (Onnx__AttributeProto__AttributeType)k;
    try_model(t);
  }
  *x = keep;
  for (size_t k = 0; k < VL_COUNT(ints); k++) {
    int64_t list[16];
    x->has_i = true;
    x->i = ints[k];
    if (k < VL_COUNT(floats)) x->f = floats[k];
    if (keep.type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS) {
      for (size_t j = 0; j < 16; j++) list[j] = j < keep.n_ints ? keep.ints[j] : ints[k];
      x->ints = list;
      x->n_ints = k;
      try_model(t);
      x->n_ints = keep.n_ints;
      if (keep.n_ints && keep.n_ints <= 16) list[k % keep.n_ints] = ints[k];
    }
    try_model(t);
    *x = keep;
  }
  if (keep.has_s) {
    static char junk[] = "..,->ij...k,,\xff";
    x->s.data = (uint8_t *)junk;
    for (x->s.len = 0; x->s.len < sizeof junk; x->s.len++) try_model(t);
    *x = keep;
  }
}

/* Each element of each small integer constant, with values that do not fit. */
static void mutate_constants(Mutant *t) {
  static const int64_t ints[] = {0, -1, 2, -2, 9, INT32_MAX, INT64_MAX, INT64_MIN};
  Onnx__GraphProto *g = t->m->graph;
  for (size_t i = 0; i < g->n_initializer; i++) {
    Onnx__TensorProto *w = g->initializer[i];
    if (w->data_type != 7 || w->raw_data.len < 8 || w->raw_data.len > 64) continue;
    for (size_t at = 0; at + 8 <= w->raw_data.len; at += 8) {
      uint8_t keep[8];
      memcpy(keep, w->raw_data.data + at, 8);
      for (size_t k = 0; k < VL_COUNT(ints); k++) {
        memcpy(w->raw_data.data + at, &ints[k], 8);
        try_model(t);
      }
      memcpy(w->raw_data.data + at, keep, 8);
    }
  }
}

static void mutate(Mutant *t) {
  mutate_types(t);
  mutate_sizes(t);
  mutate_constants(t);
  for (size_t i = 0; i < t->m->graph->n_node && i < 2; i++) {
    Onnx__NodeProto *n = t->m->graph->node[i];
    mutate_inputs(t, n);
    for (size_t k = 0; k < n->n_attribute; k++) {
      mutate_attr(t, n->attribute[k]);
      Onnx__AttributeProto *gone = n->attribute[k];
      n->attribute[k] = n->attribute[--n->n_attribute];
      try_model(t);
      n->attribute[n->n_attribute++] = n->attribute[k];
      n->attribute[k] = gone;
    }
  }
}

/* The node tests are valid one-node models of every operator: two of each, one
** of them with its inputs after the first as constants. */
static bool load_node_test(Arena *a, const char *name, bool is_frozen, Onnx__ModelProto **out) {
  Diag *d = diag_new();
  uint8_t *bytes = NULL;
  size_t n = 0;
  const char *folder = arena_printf(a, "%s/%s", VLPC_NODE_TESTS, name);
  bool ok = io_read(arena_printf(a, "%s/model.onnx", folder), 1 << 20, a, d, &bytes, &n) == VLPC_OK;
  *out = ok ? onnx__model_proto__unpack(NULL, n, bytes) : NULL;
  Onnx__GraphProto *g = *out ? (*out)->graph : NULL;
  for (size_t i = 1; g && is_frozen && i < g->n_input; i++) {
    const char *path = arena_printf(a, "%s/test_data_set_0/input_%zu.pb", folder, i);
    if (io_read(path, 1 << 16, a, d, &bytes, &n) != VLPC_OK) break;
    Onnx__TensorProto *t = onnx__tensor_proto__unpack(NULL, n, bytes);
    if (!t) break;
    if (t->name && t->name != (char *)protobuf_c_empty_string) free(t->name);
    t->name = strdup(g->input[i]->name);
    g->initializer = realloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
    g->initializer[g->n_initializer++] = t;
  }
  diag_free(d);
  return *out != NULL;
}

static int is_node_test(const struct dirent *e) {
  return strncmp(e->d_name, "test_", 5) == 0 && !strstr(e->d_name, "_expanded");
}

typedef struct {
  char op[64];
  int n;
} Seen;

static void test_mutated_operators_are_errors_or_graphs(void **state) {
  (void)state;
  struct dirent **entry = NULL;
  int n = scandir(VLPC_NODE_TESTS, &entry, is_node_test, alphasort);
  Seen seen[256] = {0};
  int n_seen = 0;
  Mutant t = {0};
  assert_true(n > 500);
  for (int i = 0; i < n; i++) {
    Onnx__ModelProto *m = NULL;
    t.a = arena_new(0);
    if (load_node_test(t.a, entry[i]->d_name, false, &m) && m->graph->n_node > 0) {
      int k = 0;
      while (k < n_seen && strcmp(seen[k].op, m->graph->node[0]->op_type) != 0) k++;
      if (k == n_seen)
        snprintf(seen[n_seen++].op, sizeof seen[0].op, "%s", m->graph->node[0]->op_type);
      bool is_frozen = seen[k].n == 0 && m->graph->n_input > 1;
      if (seen[k].n++ < 2) {
        if (is_frozen) {
          onnx__model_proto__free_unpacked(m, NULL);
          if (!load_node_test(t.a, entry[i]->d_name, true, &m)) fail();
        }
        t.m = m;
        mutate(&t);
      }
    }
    if (m) onnx__model_proto__free_unpacked(m, NULL);
    arena_free(t.a);
    free(entry[i]);
  }
  free(entry);
  print_message("%d operators, %d mutants, %d refused\n", n_seen, t.tried, t.refused);
  assert_true(n_seen > 90 && t.tried > 5000 && t.refused > t.tried / 4);
}

/* ---- other people's files ----------------------------------------------- */

static int import_tree(const char *folder) {
  DIR *d = opendir(folder);
  int n = 0;
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    char path[1024];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (e->d_name[0] == '.' || stat(path, &st) != 0) continue;
    if (S_ISDIR(st.st_mode)) n += import_tree(path);
    if (!S_ISREG(st.st_mode) || !strstr(e->d_name, ".onnx")) continue;
    VL_IGNORE(import_status(path, "error[E")); /* any status, with a code when it fails */
    n++;
  }
  closedir(d);
  return n;
}

static void test_onnx_runtimes_files_never_crash(void **state) {
  (void)state;
  char folder[512];
  if (!shared_data()) {
    print_message("no shared data: set VLPC_SHARED\n");
    skip();
  }
  snprintf(folder, sizeof folder, "%s/data/corpora/ort", shared_data());
  assert_true(import_tree(folder) > 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_model_cut_anywhere_is_an_error),
      cmocka_unit_test(test_a_flipped_byte_never_crashes),
      cmocka_unit_test(test_deep_nesting_is_refused),
      cmocka_unit_test(test_many_messages_are_refused),
      cmocka_unit_test(test_malformed_wire_data_are_refused),
      cmocka_unit_test(test_calls_that_double_are_cut_off),
      cmocka_unit_test(test_external_data_cannot_leave_the_folder),
      cmocka_unit_test(test_tensors_that_contradict_themselves_are_refused),
      cmocka_unit_test(test_a_segment_cannot_be_forged),
      cmocka_unit_test(test_mutated_operators_are_errors_or_graphs),
      cmocka_unit_test(test_onnx_runtimes_files_never_crash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
