/* SPDX-License-Identifier: Apache-2.0 */
/* test_checkpoint.c - what is saved comes back bit for bit; every damaged byte,
** every cut and every failing write is noticed and leaves the old file good.
**
** The program is linked with --wrap for the calls that a writer makes, so that
** the n-th of them can fail. */
#include "train/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "train_kit.h"

/* ---- failing calls ------------------------------------------------------ */

typedef enum { FAULT_none, FAULT_enospc, FAULT_eio, FAULT_short } Fault;
static Fault fault;
static int calls, fail_at; /* the call that fails, counted from 1 */

/* Visible: the sanitizers' libraries refer to them too. */
ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t off);
VLPC_API ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t off);
int __real_fsync(int fd);
VLPC_API int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
VLPC_API int __wrap_rename(const char *from, const char *to);

static int fails(void) {
  if (fault == FAULT_none || ++calls != fail_at) return 0;
  errno = fault == FAULT_eio ? EIO : ENOSPC;
  return 1;
}

/* A short write stores a part and then the disk is full. */
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t off) {
  if (!fails()) return __real_pwrite(fd, p, n, off);
  if (fault != FAULT_short || n < 2) return -1;
  fail_at = calls + 1;
  return __real_pwrite(fd, p, n / 2, off);
}
int __wrap_fsync(int fd) { return fails() ? -1 : __real_fsync(fd); }
int __wrap_rename(const char *from, const char *to) {
  return fails() ? -1 : __real_rename(from, to);
}

/* ---- a state ------------------------------------------------------------ */

static const float ctx[6] = {1.5f, -0.0f, 3e-40f, 7.0f, INFINITY, -2.25f};
static const float momentum[6] = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
static const uint64_t steps[2] = {40, 0};
static RunArray prompts[] = {{"prompt_learner.ctx", 6, ctx}, {"empty", 0, NULL}};
static RunArray moments[] = {{"prompt_learner.ctx", 6, momentum}};

static RunState state_at(uint64_t step) {
  return (RunState){.prompts = {prompts, 2}, .optim = {moments, 1}, .steps = steps,
                      .seed = 7, .draws = UINT64_C(1) << 40, .epoch = 3, .batch = 11,
                      .step = step, .best = 0.75, .config = "method: coop\nlr: 0.002\n",
                      .model = "00112233445566778899aabbccddeeff",
                      .data = "ffeeddccbbaa99887766554433221100"};
}

static void expect_state(const RunState *c, uint64_t step) {
  assert_int_equal(c->step, step);
  assert_true(c->seed == 7 && c->draws == UINT64_C(1) << 40 && c->epoch == 3 && c->batch == 11);
  assert_true(c->best == 0.75);
  assert_string_equal(c->config, "method: coop\nlr: 0.002\n");
  assert_string_equal(c->model, "00112233445566778899aabbccddeeff");
  assert_string_equal(c->data, "ffeeddccbbaa99887766554433221100");
  assert_int_equal(c->prompts.n, 2);
  assert_string_equal(c->prompts.at[0].name, "prompt_learner.ctx");
  assert_int_equal(c->prompts.at[0].n, 6);
  assert_memory_equal(c->prompts.at[0].data, ctx, sizeof ctx);
  assert_int_equal(c->prompts.at[1].n, 0);
  assert_int_equal(c->optim.n, 1);
  assert_memory_equal(c->optim.at[0].data, momentum, sizeof momentum);
  assert_memory_equal(c->steps, steps, sizeof steps);
}

static void write_at(Kit *k, const char *path, uint64_t step) {
  RunState c = state_at(step);
  assert_int_equal(run_state_write(path, &c, k->arena, k->diag), VLPC_OK);
}

static void round_trip(void **state) {
  Kit *k = *state;
  RunState c;
  uint8_t *a, *b;
  size_t n, m;
  write_at(k, "a.ckpt", 40);
  assert_int_equal(run_state_read("a.ckpt", k->arena, k->diag, &c), VLPC_OK);
  expect_state(&c, 40);
  assert_int_equal(run_state_write("b.ckpt", &c, k->arena, k->diag), VLPC_OK);
  assert_int_equal(io_read("a.ckpt", 1 << 20, k->arena, k->diag, &a, &n), VLPC_OK);
  assert_int_equal(io_read("b.ckpt", 1 << 20, k->arena, k->diag, &b, &m), VLPC_OK);
  assert_int_equal(n, m);
  assert_memory_equal(a, b, n);
}

/* Every byte and every length; with VLPC_TEST_LONG each byte in three ways. */
static void damage(void **state) {
  Kit *k = *state;
  uint8_t *bytes;
  size_t n;
  RunState c;
  write_at(k, "a.ckpt", 40);
  assert_int_equal(io_read("a.ckpt", 1 << 20, k->arena, k->diag, &bytes, &n), VLPC_OK);
  for (size_t i = 0; i < n; i++) {
    uint8_t old = bytes[i];
    uint8_t other[] = {(uint8_t)(old ^ 1 << i % 8), (uint8_t)(old ^ 0x80), (uint8_t)~old};
    for (int j = 0; j < (getenv("VLPC_TEST_LONG") ? 3 : 1); j++) {
      bytes[i] = other[j];
      kit_put("x.ckpt", bytes, n);
      assert_int_not_equal(run_state_read("x.ckpt", k->arena, NULL, &c), VLPC_OK);
    }
    bytes[i] = old;
    kit_put("x.ckpt", bytes, i);
    assert_int_not_equal(run_state_read("x.ckpt", k->arena, NULL, &c), VLPC_OK);
  }
  bytes[n] = 0;
  kit_put("x.ckpt", bytes, n + 1);
  kit_expect(k, run_state_read("x.ckpt", k->arena, k->diag, &c), DIAG_RUN_FORMAT,
             "vlpc: error[E1121]: x.ckpt: the checkpoint is cut short, or too long\n"
             "  fix:      resume from the checkpoint before it\n");
  bytes[n - 1] ^= 1;
  kit_put("x.ckpt", bytes, n);
  kit_expect(k, run_state_read("x.ckpt", k->arena, k->diag, &c), DIAG_RUN_HASH,
             "vlpc: error[E1122]: x.ckpt: a section of the checkpoint is damaged\n"
             "  fix:      resume from the checkpoint before it\n");
  bytes[8] = 9;
  kit_put("x.ckpt", bytes, n);
  kit_expect(k, run_state_read("x.ckpt", k->arena, k->diag, &c), DIAG_RUN_VERSION,
             "vlpc: error[E1123]: x.ckpt: this checkpoint is of another version\n"
             "  found:    version 9\n  expected: version 1\n"
             "  fix:      resume with the vlpc that wrote it\n");
  kit_put_text("x.ckpt", "PK");
  kit_expect(k, run_state_read("x.ckpt", k->arena, k->diag, &c), DIAG_RUN_FORMAT,
             "vlpc: error[E1121]: x.ckpt: this is not a vlpc checkpoint\n"
             "  fix:      name a .ckpt file that vlpc train wrote\n");
}

static void save(Kit *k, uint64_t step, bool best) {
  RunState c = state_at(step);
  assert_int_equal(run_save("run", &c, best, k->arena, k->diag), VLPC_OK);
}

static void what_is_kept(void **state) {
  Kit *k = *state;
  RunFound f;
  kit_put_text("run/config.yaml", "x");
  kit_put_text("run/.step-00000002.ckpt.abcdef.tmp", "half");
  for (uint64_t s = 1; s <= 4; s++) save(k, s * 10, s == 2);
  assert_int_equal(access("run/step-00000020.ckpt", F_OK), -1);
  assert_int_equal(access("run/.step-00000002.ckpt.abcdef.tmp", F_OK), -1);
  assert_int_equal(access("run/config.yaml", F_OK), 0);
  RunState best;
  assert_int_equal(run_state_read("run/best.ckpt", k->arena, k->diag, &best), VLPC_OK);
  assert_int_equal(best.step, 20);
  assert_int_equal(run_latest("run", k->arena, k->diag, &f), VLPC_OK);
  assert_string_equal(f.path, "run/step-00000040.ckpt");
  assert_null(f.warning);
  kit_put_text("run/step-00000040.ckpt", "torn");
  assert_int_equal(run_latest("run", k->arena, k->diag, &f), VLPC_OK);
  expect_state(&f.state, 30);
  assert_string_equal(f.warning,
                      "run/step-00000040.ckpt is damaged; run/step-00000030.ckpt is used instead");
  /* Going on from 30 overwrites and drops what came after. */
  save(k, 35, false);
  assert_int_equal(access("run/step-00000040.ckpt", F_OK), -1);
  assert_int_equal(access("run/step-00000030.ckpt", F_OK), 0);
  kit_put_text("run/step-00000030.ckpt", "");
  kit_put_text("run/step-00000035.ckpt", "");
  kit_expect(k, run_latest("run", k->arena, k->diag, &f), DIAG_RUN_NONE,
             "vlpc: error[E1124]: run: no checkpoint is sound\n"
             "  found:    2 damaged, first run/step-00000035.ckpt\n"
             "  fix:      start the run again, into another folder\n");
  kit_expect(k, run_latest("none", k->arena, k->diag, &f), DIAG_FOLDER,
             "vlpc: error[E0011]: none: the run cannot be read\n"
             "  fix:      name the folder that vlpc train wrote into\n");
}

/* The n-th call of a save fails, for every n, in three ways: the save says so, and
** what was there before is read again. */
static void failing_writes(void **state) {
  Kit *k = *state;
  for (int kind = FAULT_enospc; kind <= FAULT_short; kind++) {
    int n = 0;
    kit_put_text("run/x", "");
    save(k, 10, true);
    save(k, 20, false);
    for (bool failed = true; failed; n++) {
      RunState c = state_at(30), best;
      RunFound f;
      calls = 0;
      fail_at = n + 1;
      fault = (Fault)kind;
      VlStatus st = run_save("run", &c, true, k->arena, k->diag);
      failed = calls >= n + 1;
      fault = FAULT_none;
      assert_int_equal(st, failed ? VLPC_E_IO : VLPC_OK);
      assert_int_equal(diag_count(k->diag), failed ? 1 : 0);
      diag_clear(k->diag);
      assert_int_equal(run_latest("run", k->arena, k->diag, &f), VLPC_OK);
      assert_null(f.warning);
      expect_state(&f.state, f.state.step);
      assert_true(f.state.step == 20 || f.state.step == 30);
      assert_int_equal(run_state_read("run/best.ckpt", k->arena, k->diag, &best), VLPC_OK);
      if (failed) { /* both that were there are still good */
        assert_int_equal(run_state_read("run/step-00000010.ckpt", k->arena, k->diag, &best), 0);
        assert_int_equal(run_state_read("run/step-00000020.ckpt", k->arena, k->diag, &best), 0);
        remove("run/step-00000030.ckpt");
      }
    }
    print_message("%d calls failed in turn\n", n - 1);
    assert_in_range(n - 1, 8, 40); /* two files of two writes, two fsyncs and a rename */
    remove("run/step-00000030.ckpt");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(round_trip),
      kit_test(damage),
      kit_test(what_is_kept),
      kit_test(failing_writes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
