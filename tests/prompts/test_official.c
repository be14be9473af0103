/* SPDX-License-Identifier: Apache-2.0 */
/* test_official.c - what the papers' own code computes, by vlpc's modules in vlpc's line.
**
** Expected features and scores are of the authors' repositories (CoOp, MaPLe, ProVP, DPT,
** PromptSRC, KgCoOp) on one CLIP with seeded weights, start values of prompts of theirs
** (reference/official_data.py); what SGD made of them in three steps comes from the
** checkpoints that their code wrote. */
#include <string.h>

#include "checkpoint/keys.h"
#include "tests/e2e/e2e_kit.h"
#include "tests/prompts/linked_kit.h"
#include "tests/prompts/official_base.h"

#define CHECKPOINTS VLPC_SOURCE_DIR "/tests/checkpoint/data/"

static Host host;
static Npz golden;

static uint32_t cases(PromptCase **out) {
  return prompt_cases(e2e, LINKED_DATA "official.txt", out);
}

static void test_the_base_is_theirs(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Npz tables = linked_golden("ziggurat");
  golden = linked_golden("official");
  vlpc_compile_options o = {.models = {official_base(&tables)}};
  host = (Host){.clip = e2e_compile(o, "base.vlpc"),
                .inputs = golden,
                .near = LINKED_NEAR,
                .scale = 60};
}

/* Arrays of z and room for n more. */
static Npz with_room(const Npz *z, uint32_t n) {
  Npz out = {arena_array(e2e, NpyArray, z->n + n), z->n};
  memcpy(out.at, z->at, z->n * sizeof *z->at);
  return out;
}

static bool is_large(const Npz *z) {
  for (uint32_t i = 0; i < z->n; i++)
    if (strncmp(z->at[i].name, "param/", 6) == 0) return false;
  return true;
}

/* Those that have a checkpoint of their code beside the start values. */
static bool is_checkpointed(const PromptCase *c) {
  static const char *const name[] = {"coop_end_m4", "kgcoop_w8", "provp_m8", "vpt_deep_m4_d3"};
  for (size_t i = 0; i < VL_COUNT(name); i++)
    if (strcmp(c->name, name[i]) == 0) return true;
  return false;
}

/* What the code computes with the values of its checkpoint. */
static Npz after_of(const PromptCase *c) {
  const char *path = arena_printf(e2e, CHECKPOINTS "%s.pth.tar", c->name);
  Safetensors set;
  assert_int_equal(keys_import(c->o.method, &path, 1, e2e, NULL, &set), VLPC_OK);
  Npz z = linked_part(&golden, arena_printf(e2e, "%s.after", c->name));
  z = with_room(&z, set.n);
  for (uint32_t k = 0; k < set.n; k++) {
    const SafeTensor *t = &set.at[k];
    NpyArray *x = &z.at[z.n++];
    *x = (NpyArray){.name = arena_printf(e2e, "param/%s", t->name), .dtype = t->dtype,
                    .rank = t->rank, .data = t->data, .bytes = t->bytes};
    memcpy(x->size, t->size, sizeof x->size);
  }
  return z;
}

static void test_start_values_and_checkpoints_give_their_results(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  PromptCase *c;
  uint32_t held = 0, after = 0, n = cases(&c);
  for (uint32_t i = 0; i < n; i++) {
    Npz z = linked_part(&golden, c[i].name);
    if (is_large(&z)) continue;
    const char *module = linked_module(&host, &c[i]), *file = linked_artifact(&host, module);
    linked_run(&host, &c[i], file, module, &z);
    held++;
    if (!is_checkpointed(&c[i])) continue;
    z = after_of(&c[i]);
    linked_run(&host, &c[i], file, module, &z);
    after++;
  }
  assert_int_equal(held, 11);
  assert_int_equal(after, 4);
}

/* What vlpc calls a parameter of MaPLe's and of DPT's code. */
static const char *own_name(const char *official) {
  static const char *const part[][2] = {{"ctx_learner.", "visual."},
                                        {"extractor.", "extractor."},
                                        {"prompt_learner.", ""}};
  for (size_t i = 0; i < VL_COUNT(part); i++) {
    const char *at = strstr(official, part[i][0]);
    if (at != NULL) return arena_printf(e2e, "param/%s%s", part[i][1], at + strlen(part[i][0]));
  }
  fail_msg("no name for %s", official);
  return NULL;
}

/* Those whose start values take 9 MB and lie in the shared data alone. */
static void test_large_start_values_give_their_results(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  PromptCase *c;
  uint32_t n = cases(&c);
  for (uint32_t i = 0; i < n; i++) {
    Npz z = linked_part(&golden, c[i].name), start;
    if (!is_large(&z)) continue;
    const char *path = arena_printf(e2e, "official/cases/%s.params.npz", c[i].name);
    assert_int_equal(npz_read(e2e_shared(path), e2e, NULL, &start), VLPC_OK);
    z = with_room(&z, start.n);
    for (uint32_t k = 0; k < start.n; k++) {
      z.at[z.n] = start.at[k];
      z.at[z.n++].name = own_name(start.at[k].name);
    }
    linked_case(&host, &c[i], linked_module(&host, &c[i]), &z);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_base_is_theirs),
      cmocka_unit_test(test_start_values_and_checkpoints_give_their_results),
      cmocka_unit_test(test_large_start_values_give_their_results),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
