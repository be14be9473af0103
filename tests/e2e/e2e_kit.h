/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_kit.h - the whole line for a test: ONNX compiled, opened, run, through the
** public functions alone.
**
** Each program has a folder of its own below the build folder, emptied at the
** start, and one arena for what it reads.  Any call that fails fails the test
** with the library's text. */
#ifndef VLPC_TESTS_E2E_E2E_KIT_H
#define VLPC_TESTS_E2E_E2E_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/npz.h"
#include "vlpc/vlpc_compile.h"

/* Group fixtures. */
int e2e_set_up(void **state);
int e2e_tear_down(void **state);

extern Arena *e2e; /* lives as long as the program */
/* A path in the program's own folder. */
const char *e2e_file(const char *fmt, ...) VL_PRINTF(1, 2);
/* A path in the shared test data; skips the test when there are none. */
const char *e2e_shared(const char *name);
/* The test may take its time: VLPC_TEST_LONG=1. */
bool e2e_is_long(void);
/* The targets that this processor runs, lowest first; NULL past the last. */
const char *e2e_isa(int i);

/* ---- compiling ---------------------------------------------------------- */

extern vlpc_compiler *e2e_compiler; /* open between the fixtures */
/* Fails the test when the last call on the compiler failed. */
void e2e_ok(vlpc_status status);
/* Compiles to `output` of the own folder; o->output is not looked at.  Code that is made
** is kept as line_open keeps it.  Returns the path. */
const char *e2e_compile(vlpc_compile_options o, const char *output);
/* The shipped model with its preprocessing and the tokenizer file named. */
const char *e2e_small_clip(const char *tokenizer);
/* Writes CLIP "tiny" of seed 1; returns its folder. */
const char *e2e_tiny(const char *folder, bool two_files, int opset);

/* ---- running ------------------------------------------------------------ */

typedef struct {
  vlpc_artifact *a;
  vlpc_session *s;
} Line;

/* Where no device is named, the environment may name one: VLPC_TEST_DEVICE=opencl.  Code
** is kept where all tests find it, if not in a folder that is named. */
Line line_open(const char *artifact, vlpc_session_options o);
/* Another session of the other's artifact; only its session is to be freed. */
Line line_share(const Line *other, vlpc_session_options o);
void line_close(Line *l);
/* Sets every input of the entry from the array of its name or an alias, and
** runs it. */
void line_set(const Line *l, const char *entry, const Npz *in); /* without the run */
void line_run(const Line *l, const char *entry, const Npz *in);
/* An output of the last run; fails the test when it is no f32. */
vlpc_tensor line_output(const Line *l, const char *entry, const char *name);
/* The output of the entry that answers to the name; false when there is none. */
bool line_find(const Line *l, const char *entry, const char *name, vlpc_tensor *out);

/* The inputs that the golden numbers of CLIP "tiny" belong to. */
Npz tiny_inputs(int64_t images, int64_t texts);

int64_t tensor_count(const vlpc_tensor *t);
/* Every element within atol, cosine at least 0.999999. */
void near_array(const vlpc_tensor *got, const NpyArray *want, double atol, const char *what);
void same_bits(const void *a, const void *b, size_t n, const char *what);
void same_files(const char *a, const char *b);
double cosine(const float *a, const float *b, int64_t n);

#endif
