/* SPDX-License-Identifier: Apache-2.0 */
/* test_trained.c - the loss of each prompt method and its gradients, by the entry
** that training runs, against PyTorch's autograd on the formulas
** (tests/prompts/reference): the tiny CLIP, parameters of the goldens. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"
#include "tests/prompts/prompt_kit.h"

#define DATA VLPC_SOURCE_DIR "/tests/prompts/data/"
#define NEAR 2e-5 /* of the largest element */
#define GRAD "grad/"
enum { INPUTS_MOST = 64 };

typedef struct {
  NpyArray at[INPUTS_MOST];
  uint32_t n;
} Values;

static void put(Values *v, const char *name, const NpyArray *x) {
  assert_non_null(x);
  assert_true(v->n < INPUTS_MOST);
  v->at[v->n] = *x;
  v->at[v->n++].name = name;
}

/* ---- one run ----------------------------------------------------------------- */

static bool has_input(const Line *l, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l->a, "train", VLPC_INPUT, i, &p); i++)
    if (strcmp(p.name, name) == 0) return true;
  return false;
}

/* An output of another entry becomes an input. */
static void put_output(const Line *l, const char *entry, const char *name, Values *v) {
  vlpc_tensor t = line_output(l, entry, name);
  NpyArray x = {.dtype = t.dtype, .rank = (uint32_t)t.rank};
  memcpy(x.size, t.shape, sizeof x.size);
  x.bytes = (uint64_t)tensor_count(&t) * sizeof(float);
  void *data = arena_alloc(e2e, x.bytes);
  memcpy(data, t.data, x.bytes);
  x.data = data;
  put(v, name, &x);
}

/* What the model makes of the templates; PromptSRC's teacher is given. */
static void put_frozen(const Line *l, const Npz *z, Values *v) {
  const NpyArray *teacher = npz_find(z, "teacher_text");
  NpyArray plain = *npz_find(z, "template_tokens");
  plain.name = "text";
  if (!has_input(l, "frozen_text_features")) return;
  if (teacher != NULL) {
    put(v, "frozen_text_features", teacher);
    return;
  }
  line_run(l, "frozen_text", &(Npz){&plain, 1});
  put_output(l, "frozen_text", "frozen_text_features", v);
}

/* ---- comparing ------------------------------------------------------------------ */

typedef struct {
  const PromptCase *c;
  const Npz *z;
  float **sum; /* by array of z */
} Sums;

static void add(const Sums *s, const Line *l, float share) {
  for (uint32_t i = 0; i < s->z->n; i++) {
    const NpyArray *want = &s->z->at[i];
    bool is_loss = strcmp(want->name, "loss") == 0;
    if (!is_loss && strncmp(want->name, GRAD, strlen(GRAD)) != 0) continue;
    const char *name =
        is_loss ? "loss" : arena_printf(e2e, "grad.%s", want->name + strlen(GRAD));
    vlpc_tensor t = line_output(l, "train", name);
    assert_int_equal((uint64_t)tensor_count(&t) * sizeof(float), want->bytes);
    if (s->sum[i] == NULL) s->sum[i] = arena_array(e2e, float, want->bytes / sizeof(float));
    for (int64_t k = 0; k < tensor_count(&t); k++)
      s->sum[i][k] += share * ((const float *)t.data)[k];
  }
}

static void check_sums(const Sums *s) {
  uint32_t gradients = 0;
  for (uint32_t i = 0; i < s->z->n; i++) {
    const float *w = s->z->at[i].data;
    double most = 0, apart = 0;
    if (s->sum[i] == NULL) continue;
    for (uint64_t k = 0; k < s->z->at[i].bytes / sizeof *w; k++) {
      most = fmax(most, fabs((double)w[k]));
      apart = fmax(apart, fabs((double)s->sum[i][k] - w[k]));
    }
    if (!(apart <= NEAR * most))
      fail_msg("%s, %s: %.3g of the largest element apart", s->c->name, s->z->at[i].name,
               apart / most);
    gradients += s->sum[i] != NULL && most > 0;
  }
  assert_true(gradients > 1); /* and the loss */
}

static bool is_zero(const vlpc_tensor *t) {
  int64_t n = 1;
  for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
  const float *v = t->data;
  for (int64_t i = 0; i < n; i++)
    if (v[i] != 0) return false;
  return true;
}

/* What does not reach the loss has no gradient, here as in PyTorch.  In a case whose labels
** miss, what they keep from it has zeros. */
static void check_rest(const Line *l, const Npz *z, bool misses) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l->a, "train", VLPC_OUTPUT, i, &p); i++) {
    if (strcmp(p.name, "loss") == 0) continue;
    if (npz_find(z, arena_printf(e2e, GRAD "%s", p.name + strlen("grad."))) != NULL) continue;
    vlpc_tensor t = line_output(l, "train", p.name);
    if (!misses || !is_zero(&t)) fail_msg("%s: nothing reaches it", p.name);
  }
}

/* One image after the other where the texts are made of an image's features. */
static void run_images(const Line *l, const Sums *s, Values *v) {
  Values one = *v;
  int64_t n = npz_find(&(Npz){v->at, v->n}, "image")->size[0];
  line_run(l, "image", &(Npz){v->at, v->n});
  put_output(l, "image", "image_features", v);
  for (int64_t b = 0; b < n; b++) {
    one = *v;
    for (uint32_t i = 0; i < one.n; i++) {
      NpyArray *x = &one.at[i];
      bool is_of_image = strcmp(x->name, "image") == 0 || strcmp(x->name, "labels") == 0 ||
                         strcmp(x->name, "image_features") == 0;
      if (!is_of_image) continue;
      x->bytes /= (uint64_t)n, x->size[0] = 1;
      x->data = (const uint8_t *)x->data + (uint64_t)b * x->bytes;
    }
    line_run(l, "train", &(Npz){one.at, one.n});
    add(s, l, 1.0f / (float)n);
  }
}

/* How a case is run, and the entry that must do it. */
typedef struct {
  const char *device, *switches, *entry, *precision;
} Way;

static void on_step(void *user, const vlpc_step_info *step) {
  if (strncmp(step->entry, "train", 5) == 0) *(const char **)user = step->entry;
}

static const char *trained_artifact(const Way *way, PromptCase *c) {
  const char *clip = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 0));
  c->o.models[0] = clip, c->o.output = e2e_file("module.onnx");
  e2e_ok(vlpc_prompt_write(e2e_compiler, &c->o));
  vlpc_compile_options k = {.models = {clip}, .prompt = c->o.output, .train = 1,
                            .passes = way->switches, .precision = way->precision,
                            .calibrate = "none"};
  return e2e_compile(k, "train.vlpc");
}

/* The golden's arrays, and those that are inputs. */
static void read_case(const PromptCase *c, Npz *z, Values *v) {
  Npz pixels;
  assert_int_equal(npz_read(arena_printf(e2e, DATA "%s.npz", c->name), e2e, NULL, z), VLPC_OK);
  assert_int_equal(npz_read(DATA "inputs.npz", e2e, NULL, &pixels), VLPC_OK);
  const NpyArray *tokens = npz_find(z, "tokens");
  NpyArray lengths = kit_name_lengths(e2e, tokens, c->o.place != NULL ? c->o.length : 0);
  put(v, "image", npz_find(&pixels, "pixels"));
  put(v, "text", tokens);
  put(v, "labels", npz_find(z, "labels"));
  put(v, "name_lengths", &lengths);
  for (uint32_t i = 0; i < z->n; i++)
    if (strncmp(z->at[i].name, "param/", 6) == 0) put(v, z->at[i].name + 6, &z->at[i]);
}

static void check_case(const Way *way, PromptCase *c) {
  Values *v = arena_one(e2e, Values);
  Npz z;
  read_case(c, &z, v);
  if (npz_find(&z, "loss") == NULL) return;
  Line l = line_open(trained_artifact(way, c), (vlpc_session_options){.device = way->device});
  const char *ran = NULL;
  assert_int_equal(vlpc_session_on_step(l.s, on_step, &ran), VLPC_OK);
  put_frozen(&l, &z, v);
  Sums s = {c, &z, arena_array(e2e, float *, z.n)};
  if (has_input(&l, "image_features")) {
    run_images(&l, &s, v);
  } else {
    line_run(&l, "train", &(Npz){v->at, v->n});
    add(&s, &l, 1);
  }
  check_sums(&s);
  check_rest(&l, &z, strstr(c->name, "_miss") != NULL);
  assert_non_null(ran);
  if (way->entry != NULL) assert_string_equal(ran, way->entry);
  line_close(&l);
}

/* ---- lists -------------------------------------------------------------------------- */

static PromptCase *all_cases(uint32_t *n) {
  PromptCase *c;
  *n = prompt_cases(e2e, DATA "cases.txt", &c);
  return c;
}

static void check_list(const Way *way, const char *const *name, size_t n) {
  uint32_t n_cases = 0;
  PromptCase *c = all_cases(&n_cases);
  for (uint32_t i = 0; i < n_cases; i++) {
    size_t k = 0;
    while (k < n && strcmp(c[i].name, name[k]) != 0) k++;
    if (k < n || e2e_is_long()) check_case(way, &c[i]);
  }
}

static PromptCase *prompt_case(const char *name) {
  uint32_t n = 0, i = 0;
  PromptCase *c = all_cases(&n);
  while (i < n && strcmp(c[i].name, name) != 0) i++;
  assert_true(i < n);
  return &c[i];
}

/* On the reference device, in double. */
static void test_gradients_are_pytorchs(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const brief[] = {
      "coop_middle", "cocoop_m2",    "kgcoop", "provp_ref",
      "dpt_cavpt",   "clip_adapter", "maple",  "promptsrc"};
  check_list(&(Way){.device = "ref"}, brief, VL_COUNT(brief));
}

static void test_native_code_gives_the_same(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const brief[] = {"coop_end", "vpt_deep"};
  check_list(&(Way){NULL}, brief, VL_COUNT(brief));
}

/* Rows after a text's end are left out, and put back by a switch; of each way the
** gradients are PyTorch's. */
static void test_packed_texts_give_the_same(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const brief[] = {"coop_end", "maple", "promptsrc"};
  check_list(&(Way){.entry = "train_rows"}, brief, VL_COUNT(brief));
  check_list(&(Way){.switches = "--no-text_rows", .entry = "train"}, brief, VL_COUNT(brief));
}

/* ---- bf16 ------------------------------------------------------------------------------ */

/* Cosine of an output with the golden of its name. */
static double likeness(const Line *l, const char *name, const NpyArray *want) {
  vlpc_tensor t = line_output(l, "train", name);
  return cosine(t.data, want->data, tensor_count(&t));
}

/* Products of bf16, sums, prompts and gradients of f32. */
static void test_gradients_in_bf16_point_the_same_way(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Values *v = arena_one(e2e, Values);
  Npz z;
  PromptCase *c = prompt_case("maple");
  read_case(c, &z, v);
  Line l = line_open(trained_artifact(&(Way){.precision = "bf16"}, c), (vlpc_session_options){0});
  line_run(&l, "train", &(Npz){v->at, v->n});
  uint32_t n = 0;
  for (uint32_t i = 0; i < z.n; i++) {
    if (strncmp(z.at[i].name, GRAD, strlen(GRAD)) != 0) continue;
    const char *name = arena_printf(e2e, "grad.%s", z.at[i].name + strlen(GRAD));
    double near = likeness(&l, name, &z.at[i]);
    if (!(near > 0.998)) fail_msg("%s: cosine %.5f", name, near);
    n++;
  }
  assert_true(n > 5);
  line_close(&l);
}

/* ---- less memory ------------------------------------------------------------------------ */

typedef struct {
  const char *ran; /* the entry that did it */
  const float *gradient[INPUTS_MOST];
} Step;

/* A step of a case, with at most `limit` bytes of activations. */
static Step step_of(const char *artifact, Values *v, uint64_t limit, vlpc_plan *plan,
                    uint32_t *n_plans) {
  Line l = line_open(artifact, (vlpc_session_options){.memory_limit = limit, .threads = 2});
  vlpc_port p = {.struct_size = sizeof p};
  Step out = {NULL};
  assert_int_equal(vlpc_session_on_step(l.s, on_step, &out.ran), VLPC_OK);
  line_run(&l, "train", &(Npz){v->at, v->n});
  for (uint32_t i = 0; vlpc_artifact_port(l.a, "train", VLPC_OUTPUT, i, &p); i++) {
    vlpc_tensor t = line_output(&l, "train", p.name);
    size_t bytes = (size_t)tensor_count(&t) * sizeof(float);
    out.gradient[i] = memcpy(arena_alloc(e2e, bytes), t.data, bytes);
  }
  for (*n_plans = 0;; ++*n_plans) {
    plan[*n_plans] = (vlpc_plan){.struct_size = sizeof *plan};
    assert_int_equal(vlpc_session_plan(l.s, "train", *n_plans, &plan[*n_plans]), VLPC_OK);
    if (plan[*n_plans].name == NULL) break;
    plan[*n_plans].name = arena_strdup(e2e, plan[*n_plans].name);
  }
  out.ran = arena_strdup(e2e, out.ran);
  line_close(&l);
  return out;
}

static void same_step(const char *artifact, const Step *a, const Step *b) {
  Line l = line_open(artifact, (vlpc_session_options){0});
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l.a, "train", VLPC_OUTPUT, i, &p); i++) {
    size_t bytes = sizeof(float);
    for (int32_t k = 0; k < p.rank; k++) bytes *= (size_t)p.shape[k];
    assert_memory_equal(a->gradient[i], b->gradient[i], bytes);
  }
  line_close(&l);
}

/* Each plan but the last, in parts of classes (e2e_chunks.c), takes less memory than the one
** before, and gives the same bits; a limit chooses the first that keeps it. */
static void test_less_memory_gives_the_same_bits(void **state) {
  (void)state;
  if (getenv("VLPC_TEST_DEVICE") != NULL) skip(); /* it may have other bits on packed rows */
  assert_false(ARENA_GUARD(e2e));
  Values *v = arena_one(e2e, Values);
  Npz z;
  vlpc_plan plan[8], other[8];
  uint32_t n = 0, n_other = 0;
  PromptCase *c = prompt_case("maple");
  const char *artifact = trained_artifact(&(Way){NULL}, c);
  read_case(c, &z, v);
  Step whole = step_of(artifact, v, 0, plan, &n);
  assert_int_equal(n, 4);
  assert_string_equal(plan[3].name, "train_chunks");
  assert_true(plan[0].used && !plan[1].used && !plan[2].used && !plan[3].used);
  assert_string_equal(whole.ran, plan[0].name);
  for (uint32_t i = 1; i + 1 < n; i++) {
    assert_true(plan[i].activation_bytes < plan[i - 1].activation_bytes);
    assert_true(plan[i].steps > plan[i - 1].steps);
    Step lean = step_of(artifact, v, plan[i].activation_bytes, other, &n_other);
    assert_int_equal(n_other, n);
    assert_true(other[i].used && !other[0].used);
    assert_string_equal(lean.ran, plan[i].name);
    same_step(artifact, &whole, &lean);
  }
}

static void test_no_plan_in_the_limit_is_refused(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Values *v = arena_one(e2e, Values);
  Npz z;
  PromptCase *c = prompt_case("maple");
  const char *artifact = trained_artifact(&(Way){.switches = "--no-recompute"}, c);
  read_case(c, &z, v);
  Line l = line_open(artifact, (vlpc_session_options){.memory_limit = 1});
  line_set(&l, "train", &(Npz){v->at, v->n});
  vlpc_plan p = {.struct_size = sizeof p};
  assert_int_equal(vlpc_session_plan(l.s, "train", 0, &p), VLPC_OK);
  assert_true(p.name != NULL && !p.used);
  assert_int_equal(vlpc_session_plan(l.s, "train", 1, &p), VLPC_OK);
  assert_null(p.name); /* switched off */
  assert_int_equal(vlpc_session_run(l.s, "train"), VLPC_E_LIMIT);
  assert_non_null(strstr(vlpc_session_error(l.s), "E0912"));
  line_close(&l);
}

/* ---- what cannot be trained ------------------------------------------------------------ */

static void test_a_module_without_trainables_is_refused(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  const char *clip = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 0));
  vlpc_prompt_options o = prompt_options(e2e, "zero-shot");
  o.models[0] = clip, o.output = e2e_file("plain.onnx");
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  vlpc_compile_options k = {.struct_size = sizeof k, .models = {clip}, .train = 1,
                            .output = e2e_file("never.vlpc"), .prompt = o.output};
  assert_int_equal(vlpc_compile(e2e_compiler, &k), VLPC_E_INVALID_ARG);
  const char *text = vlpc_compiler_error(e2e_compiler);
  assert_non_null(strstr(text, "E0460"));
  assert_non_null(strstr(text, "the module has nothing to train"));
  k.prompt = NULL;
  assert_int_equal(vlpc_compile(e2e_compiler, &k), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_compiler_error(e2e_compiler), "there is no prompt module to train"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gradients_are_pytorchs),
      cmocka_unit_test(test_native_code_gives_the_same),
      cmocka_unit_test(test_packed_texts_give_the_same),
      cmocka_unit_test(test_gradients_in_bf16_point_the_same_way),
      cmocka_unit_test(test_less_memory_gives_the_same_bits),
      cmocka_unit_test(test_no_plan_in_the_limit_is_refused),
      cmocka_unit_test(test_a_module_without_trainables_is_refused),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
