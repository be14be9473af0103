/* SPDX-License-Identifier: Apache-2.0 */
/* test_link.c - modules linked into a tiny CLIP against the same thing written out
** by hand, before any pass and after them; texts on packed rows; what is refused,
** word for word. */
#include "passes/link.h"
#include "passes/sched.h"
#include "tests/passes/tower_kit.h"

#define WRITES(...) .n_writes = sizeof (LinkWrite[]){__VA_ARGS__} / sizeof(LinkWrite), \
                    .write = (const LinkWrite[]){__VA_ARGS__}
#define TAPS(...) .n_taps = sizeof (LinkTap[]){__VA_ARGS__} / sizeof(LinkTap), \
                  .tap = (const LinkTap[]){__VA_ARGS__}
#define NAMES(...) .n_trainables = sizeof (const char *[]){__VA_ARGS__} / sizeof(char *), \
                   .trainable = (const char *const[]){__VA_ARGS__}

static Graph *linked(Arena *a, const char *module, LinkSpec s, uint64_t skip) {
  Diag *d = diag_new();
  Graph *base = lowered(kit_clip(a, NULL, NULL), NULL).g, *g = NULL;
  PassOpts opt = {.skip = skip, .check = PASS_CHECK_EVAL | PASS_CHECK_ROUNDTRIP};
  PassResult r;
  s.module = graph_of(a, "module", module, strlen(module));
  s.file = "module.onnx";
  s.logit_scale = 50;
  VlStatus status = pass_link(base, &s, a, d, &g);
  if (status == VLPC_OK) status = pass_relower(g, &opt, d, &r);
  if (status != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  return r.g;
}

/* As written and with each rewrite off. */
static void check(Arena *a, const char *module, LinkSpec s, PointFn *by_hand) {
  static const uint64_t skip[] = {0, PASS_BIT(segments), PASS_BIT(prune_rows), ~UINT64_C(0)};
  Graph *want = kit_clip(a, by_hand, NULL);
  for (size_t i = 0; i < VL_COUNT(skip); i++) kit_equal(linked(a, module, s, skip[i]), want, a);
}

/* ---- by hand ------------------------------------------------------------------------ */

static Val rows_of(Graph *g, Val x, int64_t from, int64_t n) {
  return ir_slice_axis(g, x, 1, dim_const(ir_dims(g), from), dim_const(ir_dims(g), n));
}

static int64_t n_rows(Graph *g, Val x) {
  int64_t n = 0;
  assert_true(ir_size_const(g, x, 1, &n));
  return n;
}

static Val spread(Graph *g, Val p, Val like) {
  const Type *t = ir_type_of(g, p), *x = ir_type_of(g, like);
  DimId size[3] = {x->dim[0], t->dim[t->rank - 2], t->dim[t->rank - 1]};
  return ir_broadcast(g, p, size, 3);
}

static Val param(Graph *g, const char *name, int64_t k, int64_t n) {
  const Named *in = NULL;
  uint32_t count = ir_inputs(g, &in);
  for (uint32_t i = 0; i < count; i++)
    if (strcmp(in[i].name, name) == 0) return in[i].v;
  return ir_input(g, name, ir_type_fixed(g, VLPC_F32, 2, (int64_t[]){k, n}));
}

static Val at_end(Graph *g, Val x, Val p) {
  return ir_concat(g, (Val[]){x, spread(g, p, x)}, 2, 1);
}

static Val in_slot(Graph *g, Val x, Val p, int64_t m) {
  Val part[3] = {rows_of(g, x, 0, 1), spread(g, p, x), rows_of(g, x, 1 + m, n_rows(g, x) - 1 - m)};
  return ir_concat(g, part, 3, 1);
}

/* ---- VPT: rows of its own in every block ------------------------------------------------ */

static const char vpt_module[] =
    "graph {\n %p = input {name=\"p\"} : f32[2,8]\n %q = input {name=\"q\"} : f32[2,8]\n"
    " out \"v0\" %p\n out \"v1\" %q\n}\n";

static Val vpt_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "V.pre") == 0) return at_end(g, x, param(g, "p", 2, 8));
  if (strcmp(point, "V.1") == 0) return at_end(g, rows_of(g, x, 0, T_ROWS), param(g, "q", 2, 8));
  return x;
}

static const LinkSpec vpt = {WRITES({"V.pre", "prompt", "v0"}, {"V.1", "prompt", "v1"}),
                             NAMES("p", "q")};

static void test_vpt_deep(void **state) {
  Arena *a = *state;
  check(a, vpt_module, vpt, vpt_by_hand);
  Graph *g = linked(a, vpt_module, vpt, 0);
  assert_non_null(strstr(text_of(g), ": f32[batch,1,8]\n"));
  uint32_t segments = 0;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    segments += ir_op(g, (Val){i}) == OP_attention && ir_n_in(g, (Val){i}) == 5;
  assert_int_equal(segments, T_BLOCKS);
}

/* Dropped before another number comes; dropped for good. */
static Val other_length_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "V.0") == 0) return at_end(g, x, param(g, "p", 2, 8));
  if (strcmp(point, "V.1") == 0) return at_end(g, rows_of(g, x, 0, T_ROWS), param(g, "q", 3, 8));
  return x;
}

static Val dropped_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "V.0") == 0) return at_end(g, x, param(g, "p", 2, 8));
  return strcmp(point, "V.1") == 0 ? rows_of(g, x, 0, T_ROWS) : x;
}

static void test_drops(void **state) {
  static const char module[] =
      "graph {\n %p = input {name=\"p\"} : f32[2,8]\n %q = input {name=\"q\"} : f32[3,8]\n"
      " out \"a\" %p\n out \"b\" %q\n}\n";
  LinkSpec s = {WRITES({"V.0", "prompt", "a"}, {"V.1", "prompt", NULL}, {"V.1", "prompt", "b"}),
                NAMES("p", "q")};
  check(*state, module, s, other_length_by_hand);
  LinkSpec off = {WRITES({"V.0", "prompt", "a"}, {"V.1", "prompt", NULL}), NAMES("p", "q")};
  check(*state, module, off, dropped_by_hand);
}

/* ---- MaPLe: text rows, and image rows made of them ------------------------------------- */

static const char maple_module[] =
    "graph {\n %c = input {name=\"ctx\"} : f32[2,8]\n %d = input {name=\"deep\"} : f32[2,8]\n"
    " %w = input {name=\"w\"} : f32[8,8]\n %v = matmul %c, %w : f32[2,8]\n"
    " %u = matmul %d, %w : f32[2,8]\n"
    " out \"t0\" %c\n out \"t1\" %d\n out \"v0\" %v\n out \"v1\" %u\n}\n";

static Val maple_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  Val c = param(g, "ctx", 2, 8), d = param(g, "deep", 2, 8), w = param(g, "w", 8, 8);
  if (strcmp(point, "T.emb") == 0) return in_slot(g, x, c, 2);
  if (strcmp(point, "T.1") == 0) return in_slot(g, x, d, 2);
  if (strcmp(point, "V.pre") == 0) return at_end(g, x, ir_ew2(g, OP_matmul, c, w));
  if (strcmp(point, "V.1") == 0)
    return at_end(g, rows_of(g, x, 0, T_ROWS), ir_ew2(g, OP_matmul, d, w));
  return x;
}

static const LinkSpec maple = {WRITES({"T.emb", "slot", "t0"}, {"V.pre", "prompt", "v0"},
                                      {"T.1", "slot", "t1"}, {"V.1", "prompt", "v1"}),
                               NAMES("ctx", "deep", "w"), .slot_rows = 2};

static void test_maple(void **state) { check(*state, maple_module, maple, maple_by_hand); }

/* ---- CoOp in its places ------------------------------------------------------------------ */

static const char coop_module[] =
    "graph {\n %c = input {name=\"ctx\"} : f32[3,8]\n out \"t0\" %c\n}\n";

static Val coop_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  return strcmp(point, "T.emb") == 0 ? in_slot(g, x, param(g, "ctx", 3, 8), 3) : x;
}

static void test_coop(void **state) {
  LinkSpec s = {WRITES({"T.emb", "slot", "t0"}), NAMES("ctx"), .slot_rows = 3};
  check(*state, coop_module, s, coop_by_hand);
}

/* The rows in the order of the kit's input "middle" or "front". */
static Val placed(Graph *g, Val x, const char *map) {
  DimId size[3] = {ir_type_of(g, x)->dim[0], dim_const(ir_dims(g), T_CONTEXT),
                   dim_const(ir_dims(g), 1)};
  Val in[2] = {in_slot(g, x, param(g, "ctx", 3, 8), 3),
               ir_input(g, map, ir_type(g, VLPC_I64, 3, size))};
  Attr batch = attr_int(A_batch_dims, 1);
  return ir_node(g, OP_gather_nd, 2, in, 1, &batch);
}

static Val middle_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  return strcmp(point, "T.emb") == 0 ? placed(g, x, "middle") : x;
}

static Val front_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  return strcmp(point, "T.emb") == 0 ? placed(g, x, "front") : x;
}

static void test_other_places(void **state) {
  LinkSpec s = {WRITES({"T.emb", "slot", "t0"}), NAMES("ctx"), .slot_rows = 3};
  s.place = SLOT_MIDDLE;
  check(*state, coop_module, s, middle_by_hand);
  s.place = SLOT_FRONT;
  check(*state, coop_module, s, front_by_hand);
}

/* A context of each class's own. */
static Val csc_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "T.emb") != 0) return x;
  DimId size[3] = {ir_type_of(g, x)->dim[0], dim_const(ir_dims(g), 3), dim_const(ir_dims(g), 8)};
  return in_slot(g, x, ir_input(g, "ctx", ir_type(g, VLPC_F32, 3, size)), 3);
}

static void test_class_rows(void **state) {
  static const char module[] = "graph {\n sym classes\n %c = input {name=\"ctx\"} :"
                               " f32[classes,3,8]\n out \"t0\" %c\n}\n";
  LinkSpec s = {WRITES({"T.emb", "slot", "t0"}), NAMES("ctx"), .slot_rows = 3};
  check(*state, module, s, csc_by_hand);
}

/* ---- ProVP: rows mixed with what the block before left there ------------------------- */

static Val provp_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "V.0") == 0) return at_end(g, x, param(g, "p", 2, 8));
  if (strcmp(point, "V.1") != 0) return x;
  Val now = rows_of(g, x, T_ROWS, 2), share = ir_scalar(g, VLPC_F32, 0.25);
  Val mixed = ir_ew2(g, OP_add, ir_ew2(g, OP_mul, now, share), param(g, "q", 2, 8));
  return ir_concat(g, (Val[]){rows_of(g, x, 0, T_ROWS), mixed}, 2, 1);
}

static const char provp_module[] =
    "graph {\n sym images\n %x = input {name=\"x\"} : f32[images,2,8]\n"
    " %p = input {name=\"p\"} : f32[2,8]\n %q = input {name=\"q\"} : f32[2,8]\n"
    " %s = const {value=[0.25]} : f32[]\n %a = mul %x, %s : f32[images,2,8]\n"
    " %y = add %a, %q : f32[images,2,8]\n out \"v0\" %p\n out \"v1\" %y\n}\n";

static void test_provp(void **state) {
  LinkSpec s = {WRITES({"V.0", "prompt", "v0"}, {"V.1", "prompt", "v1"}),
                TAPS({"x", "V.1", "prompt", false}), NAMES("p", "q")};
  check(*state, provp_module, s, provp_by_hand);
}

/* ---- across the towers: image rows made of text features (as CAVPT's) ------------------ */

static const char cross_module[] =
    "graph {\n sym images\n sym classes\n"
    " %x = input {name=\"x\"} : f32[images,5,8]\n %g = input {name=\"g\"} : f32[classes,6]\n"
    " %w = input {name=\"w\"} : f32[6,8]\n %q = matmul %g, %w : f32[classes,8]\n"
    " %m = reduce_mean %q {axes=[0], keepdims=1} : f32[1,8]\n"
    " %r = reshape %m {dims=[1,1,8]} : f32[1,1,8]\n"
    " %k = reduce_max %x {axes=[1], keepdims=1} : f32[images,1,8]\n"
    " %y = add %k, %r : f32[images,1,8]\n out \"v1\" %y\n}\n";

/* In the kit the text tower comes first. */
static Val cross_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  static Val text; /* of the graph being made */
  (void)ctx;
  if (strcmp(point, "T.feat") == 0) text = x;
  if (strcmp(point, "V.1") != 0) return x;
  Val q = ir_ew2(g, OP_matmul, text, param(g, "w", 6, 8));
  Val mean = ir_reduce(g, OP_reduce_mean, q, (int64_t[]){0}, 1, true);
  DimId one = dim_const(ir_dims(g), 1), size[3] = {one, one, dim_const(ir_dims(g), 8)};
  Val most = ir_reduce(g, OP_reduce_max, x, (int64_t[]){1}, 1, true);
  Val row = ir_ew2(g, OP_add, most, ir_reshape(g, mean, size, 3));
  return ir_concat(g, (Val[]){x, row}, 2, 1);
}

static void test_across(void **state) {
  Arena *a = *state;
  LinkSpec s = {WRITES({"V.1", "prompt", "v1"}), NAMES("w"),
                TAPS({"x", "V.1", "cls+patch", false}, {"g", "T.feat", NULL, false})};
  check(a, cross_module, s, cross_by_hand);
  Graph *g = linked(a, cross_module, s, 0);
  PassEntry e[ENTRY_MAX];
  assert_int_equal(pass_entries(g, e), 3);
  assert_string_equal(e[0].name, "image"); /* though it reads the texts */
  assert_string_equal(e[0].out[0].name, "image_features");
  assert_int_equal(e[0].n_out, 1);
  TrainableNames names = {s.trainable, 1};
  Cut c = {.at = pass_binding(g, a, &names, BIND_prompts), .time = BIND_classes, .late = e,
           .early = &e[1], .n_late = 1};
  CutList cut = pass_cut(g, a, &c);
  assert_int_equal(cut.n, 1);
  assert_string_equal(cut.at[0].name, "classes.0"); /* the mean */
}

/* ---- frozen towers, features, scores ---------------------------------------------------- */

static Val features_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "V.pre") == 0) return at_end(g, x, param(g, "p", 2, 8));
  if (strcmp(point, "V.feat") == 0)
    return ir_ew2(g, OP_mul, x, ir_scalar(g, VLPC_F32, 2));
  return strcmp(point, "logits") == 0 ? ir_ew2(g, OP_add, x, x) : x;
}

static const char features_module[] =
    "graph {\n sym images\n sym classes\n %p = input {name=\"p\"} : f32[2,8]\n"
    " %f = input {name=\"f\"} : f32[images,6]\n %z = input {name=\"z\"} : f32[images,6]\n"
    " %l = input {name=\"l\"} : f32[images,classes]\n %c = const {value=[2]} : f32[]\n"
    " %g = mul %f, %c : f32[images,6]\n %d = sub %z, %z : f32[images,6]\n"
    " %h = add %g, %d : f32[images,6]\n %m = add %l, %l : f32[images,classes]\n"
    " out \"v0\" %p\n out \"f2\" %h\n out \"l2\" %m\n}\n";

static void test_features_and_scores(void **state) {
  LinkSpec s = {WRITES({"V.pre", "prompt", "v0"}, {"V.feat", NULL, "f2"}, {"logits", NULL, "l2"}),
                TAPS({"f", "V.feat", NULL, false},
                     {"z", "frozen.V.feat", NULL, false}, {"l", "logits", NULL, false}),
                NAMES("p")};
  check(*state, features_module, s, features_by_hand);
}

/* The frozen tower is there once with what no write reaches. */
static void test_frozen_is_shared(void **state) {
  Arena *a = *state;
  static const char module[] =
      "graph {\n sym images\n %p = input {name=\"p\"} : f32[2,8]\n"
      " %z = input {name=\"z\"} : f32[images,6]\n %f = input {name=\"f\"} : f32[images,6]\n"
      " %y = add %f, %z : f32[images,6]\n out \"v1\" %p\n out \"f2\" %y\n}\n";
  LinkSpec s = {WRITES({"V.1", "prompt", "v1"}, {"V.feat", NULL, "f2"}),
                TAPS({"z", "frozen.V.feat", NULL, false},
                     {"f", "V.feat", NULL, false}), NAMES("p")};
  Graph *g = linked(a, module, s, 0);
  uint32_t attentions = 0;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    attentions += ir_op(g, (Val){i}) == OP_attention && !ir_attr_int(g, (Val){i}, A_causal, 0);
  assert_int_equal(attentions, 3); /* block 0, block 1 frozen, block 1 prompted */
}

/* CoCoOp: texts of one image. */
static const char lift_module[] =
    "graph {\n sym images\n %f = input {name=\"f\"} : f32[images,6]\n"
    " %w = input {name=\"w\"} : f32[6,8]\n %c = input {name=\"ctx\"} : f32[2,8]\n"
    " %m = matmul %f, %w : f32[images,8]\n"
    " %r = reshape %m {dims=[images,1,1,8]} : f32[images,1,1,8]\n"
    " %y = add %r, %c : f32[images,1,2,8]\n out \"t0\" %y\n}\n";

static Val lift_by_hand(void *ctx, Graph *g, const char *point, Val x) {
  (void)ctx;
  if (strcmp(point, "T.emb") != 0) return x;
  Val f = param(g, "image_features", 1, 6);
  Attr eps = attr_float(A_eps, 0);
  f = ir_node(g, OP_l2norm, 1, &f, 1, &eps);
  Val moved = ir_ew2(g, OP_matmul, f, param(g, "w", 6, 8));
  return in_slot(g, x, ir_ew2(g, OP_add, moved, param(g, "ctx", 2, 8)), 2);
}

static void test_lift(void **state) {
  Arena *a = *state;
  LinkSpec s = {WRITES({"T.emb", "slot", "t0"}), TAPS({"f", "V.feat.norm", NULL, false}),
                NAMES("w", "ctx"), .slot_rows = 2, .lift = true};
  Graph *g = linked(a, lift_module, s, 0);
  const Named *out = NULL;
  assert_int_equal(ir_outputs(g, &out), 2); /* no scores */
  Named features = {"text_features", VAL_NONE};
  Graph *want = ir_extract(kit_clip(a, lift_by_hand, NULL), a, &features, 1);
  kit_equal(g, want, a);
}

/* ---- texts on packed rows ------------------------------------------------------------------ */

static void test_packed_rows(void **state) {
  Arena *a = *state;
  PassEntry e[ENTRY_MAX];
  TextRows rows;
  Graph *g = linked(a, maple_module, maple, 0);
  uint32_t n = pass_entries(g, e);
  assert_true(n >= 2 && strcmp(e[1].name, "text") == 0);
  assert_true(pass_text_rows(g, &e[1], &rows));
  assert_int_equal(rows.prefix, 3);
  LinkSpec csc = {WRITES({"T.emb", "slot", "t0"}), NAMES("ctx"), .slot_rows = 3,
                  .place = SLOT_FRONT};
  g = linked(a, coop_module, csc, 0);
  (void)pass_entries(g, e);
  assert_true(pass_text_rows(g, &e[1], &rows));
  assert_int_equal(rows.prefix, 0); /* rows say where they come from */
}

/* ---- what is refused ------------------------------------------------------------------------ */

typedef struct {
  const char *module; /* graph's body */
  LinkSpec s;
  const char *text;
} Refused;

#define P28 " %p = input {name=\"p\"} : f32[2,8]\n out \"p\" %p\n"
static const Refused refused[] = {
    {P28, {WRITES({"V.7", "prompt", "p"}), NAMES("p")},
     "vlpc: error[E0451]: module.onnx: the model has no point 'V.7'\n"
     "  expected: T.emb, T.0, T.1, T.feat, V.pre, V.0, V.1, V.feat, logits\n"},
    {P28, {WRITES({"V.0", "prompts", "p"}), NAMES("p")},
     "vlpc: error[E0451]: module.onnx: rows at V.0 have no segment 'prompts'\n"
     "  expected: cls, patch, cls+patch, prompt\n"},
    {P28, {WRITES({"V.0", "prompt", "q"}), NAMES("p")},
     "vlpc: error[E0452]: module.onnx: the module has no output 'q', which is written at V.0\n"
     "  fix:      name an output of the module's graph\n"},
    {" %p = input {name=\"p\"} : f32[2,9]\n out \"p\" %p\n",
     {WRITES({"V.0", "prompt", "p"}), NAMES("p")},
     "vlpc: error[E0453]: module.onnx: 'p' does not fit what it is written to at V.0\n"
     "  found:    f32[2,9]\n  expected: f32[k,8], or one of these for each image\n"},
    {P28, {WRITES({"T.emb", "slot", "p"}), NAMES("p"), .slot_rows = 3},
     "vlpc: error[E0453]: module.onnx: 'p' does not fit what it is written to at T.emb\n"
     "  found:    f32[2,8]\n  expected: f32[3,8], or one of these for each class\n"},
    {" %p = input {name=\"p\"} : f16[2,8]\n out \"p\" %p\n",
     {WRITES({"V.0", "prompt", "p"}), NAMES("p")},
     "vlpc: error[E0454]: module.onnx: 'p' has not the element type of the stream at V.0\n"
     "  found:    f16\n  expected: f32\n  fix:      cast it in the module\n"},
    {P28, {WRITES({"V.0", "prompt", NULL}), NAMES("p")},
     "vlpc: error[E0455]: module.onnx: the segment prompt is dropped at V.0, where it is absent\n"
     "  fix:      insert rows at an earlier point, or leave the drop out\n"},
    {" sym n\n %x = input {name=\"x\"} : f32[n,2,8]\n out \"p\" %x\n",
     {WRITES({"V.1", "prompt", "p"}), TAPS({"x", "V.1", "prompt", false})},
     "vlpc: error[E0455]: module.onnx: the segment prompt is read at V.1, where it is absent\n"
     "  fix:      insert rows at an earlier point\n"},
    {" %p = input {name=\"p\"} : f32[2,8]\n %q = input {name=\"q\"} : f32[3,8]\n"
     " out \"p\" %p\n out \"q\" %q\n",
     {WRITES({"V.0", "prompt", "p"}, {"V.1", "prompt", "q"}), NAMES("p", "q")},
     "vlpc: error[E0456]: module.onnx: the segment prompt changes its length at V.1\n"
     "  found:    3 rows after 2\n"
     "  fix:      drop it first:"
     " {\"point\": \"V.1\", \"segment\": \"prompt\", \"drop\": true}\n"},
    {P28, {WRITES({"T.emb", "sos", "p"}), NAMES("p"), .slot_rows = 2},
     "vlpc: error[E0457]: module.onnx: row 0 of the texts is written at T.emb\n"
     "  fix:      write to the slot, which begins at row 1\n"},
    {" sym c\n %g = input {name=\"g\"} : f32[c,6]\n %w = input {name=\"w\"} : f32[6,8]\n"
     " %q = matmul %g, %w : f32[c,8]\n %m = reduce_mean %q {axes=[0], keepdims=1} : f32[1,8]\n"
     " out \"p\" %m\n",
     {WRITES({"T.1", "slot", "p"}), TAPS({"g", "T.feat", NULL, false}), NAMES("w"), .slot_rows = 1},
     "vlpc: error[E0458]: module.onnx: taps and writes run in a circle\n"
     "  found:    T.feat needs T.1 needs T.feat\n"
     "  fix:      tap an earlier point, or the frozen towers\n"},
    {P28, {WRITES({"V.0", "prompt", "p"})},
     "vlpc: error[E0452]: module.onnx: the module's input 'p' is neither tapped nor a trainable\n"
     "  fix:      declare a tap for it\n"},
    {" %p = input {name=\"text\"} : f32[2,8]\n out \"p\" %p\n",
     {WRITES({"V.0", "prompt", "p"}), NAMES("text")},
     "vlpc: error[E0452]: module.onnx: the module's input 'text' is a trainable that has the name"
     " of an input of the model\n  fix:      give it another name\n"},
    {P28, {WRITES({"V.0", "prompt", "p"}), TAPS({"y", "V.1", NULL, false}), NAMES("p")},
     "vlpc: error[E0452]: module.onnx: the module has no input 'y', to which V.1 is tapped\n"},
    {" sym n\n %x = input {name=\"x\"} : f32[n,7]\n out \"p\" %x\n",
     {WRITES({"V.feat", NULL, "p"}), TAPS({"x", "V.feat", NULL, false})},
     "vlpc: error[E0453]: module.onnx: V.feat does not fit the module's input 'x'\n"
     "  found:    f32[batch,6]\n  expected: f32[n,7]\n"},
    {" %p = input {name=\"p\"} : f32[7,8]\n out \"p\" %p\n",
     {WRITES({"T.emb", "slot", "p"}), NAMES("p"), .slot_rows = 7},
     "vlpc: error[E0453]: module.onnx: the slot leaves no room for a text\n"
     "  found:    7 rows of 9\n"
     "  expected: at most 6: a text also has its start, a word and its end\n"},
    {P28, {WRITES({"logits", NULL, "p"}), NAMES("p"), .lift = true},
     "vlpc: error[E0451]: module.onnx: with lift 'p' is written at logits\n"
     "  fix:      write the features instead, or leave lift out\n"},
    {P28, {WRITES({"T.1", "slot", "p"}), NAMES("p"), .slot_rows = 2, .place = SLOT_FRONT},
     "vlpc: error[E0451]: module.onnx: a slot in the middle or front is written at T.1\n"
     "  expected: T.emb, or the place end\n"},
};

static void test_refused(void **state) {
  Arena *a = *state;
  for (size_t i = 0; i < VL_COUNT(refused); i++) {
    Diag *d = diag_new();
    LinkSpec s = refused[i].s;
    Graph *g = NULL, *base = lowered(kit_clip(a, NULL, NULL), NULL).g;
    const char *text = arena_printf(a, "graph {\n%s}\n", refused[i].module);
    s.module = graph_of(a, "module", text, strlen(text));
    s.file = "module.onnx";
    assert_int_not_equal(pass_link(base, &s, a, d, &g), VLPC_OK);
    assert_string_equal(diag_text(d), refused[i].text);
    diag_free(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_vpt_deep),     TEST(test_drops),          TEST(test_maple),
      TEST(test_coop),         TEST(test_other_places),   TEST(test_class_rows),
      TEST(test_provp),        TEST(test_across),         TEST(test_features_and_scores),
      TEST(test_frozen_is_shared), TEST(test_lift),       TEST(test_packed_rows),
      TEST(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
