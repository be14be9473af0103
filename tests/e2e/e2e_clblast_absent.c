/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_clblast_absent.c - a table that names CLBlast on a machine without it: the tiles of the
** table are used, and it is said.  The library's file is one that cannot be opened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_clblast.h"
#include "tests/e2e/tune_table.h"

enum { SKIPPED = 77 };

static const char *artifact, *folder;

static void tiles_take_its_place(void **state) {
  (void)state;
  int warned;
  Npz inputs = tiny_inputs(2, 1);
  Line plain = tuned_line(artifact, folder, &warned);
  assert_int_equal(warned, 0);
  table_names_clblast(folder, 10503);
  Line l = tuned_line(artifact, folder, &warned);
  assert_int_equal(warned, 1);
  line_run(&plain, "image", &inputs);
  line_run(&l, "image", &inputs);
  vlpc_tensor want = line_output(&plain, "image", "image_features");
  same_bits(line_output(&l, "image", "image_features").data, want.data,
            (size_t)tensor_count(&want) * sizeof(float), "tiles");
  line_close(&l);
  line_close(&plain);
}

/* As vlpc doctor looks. */
static void a_device_says_what_its_table_lacks(void **state) {
  (void)state;
  int32_t more = 0;
  vlpc_found_device d = {.struct_size = sizeof d, .cache_dir = folder};
  table_names_clblast(folder, 10503);
  e2e_ok(vlpc_compiler_device(e2e_compiler, 0, &d, &more));
  assert_non_null(d.untuned);
  assert_non_null(strstr(d.untuned, "vlpc tune gave to CLBlast 1.5.3 are computed without it"));
  assert_non_null(strstr(d.untuned, "libclblast.so.1"));
  table_names_clblast(folder, 0);
  d.cache_dir = folder;
  e2e_ok(vlpc_compiler_device(e2e_compiler, 0, &d, &more));
  assert_null(d.untuned);
}

static void tuning_with_it_says_what_to_install(void **state) {
  (void)state;
  const char *text = NULL;
  assert_int_equal(tune(artifact, folder, true, &text), VLPC_E_DEVICE);
  text = vlpc_compiler_error(e2e_compiler);
  assert_non_null(strstr(text, "error[E0627]: device opencl: CLBlast cannot be tried"));
  assert_non_null(strstr(text, "install a release (Debian: libclblast1), "
                               "or tune without --clblast"));
}

static int set_up(void **state) {
  const char *why, *text = NULL;
  vlpc_found_device d = {.struct_size = sizeof d};
  int32_t more = 0;
  if (e2e_set_up(state)) return 1;
  bool device = vlpc_compiler_device(e2e_compiler, 0, &d, &more) == VLPC_OK && more;
  if (!device || cl_clblast(&why) != 0) {
    printf("skipped: %s\n", device ? "CLBlast opens: run by ctest" : "no OpenCL device");
    exit(SKIPPED);
  }
  vlpc_compile_options o = {.models = {arena_printf(e2e, "%s/model.onnx",
                                                    e2e_tiny("tiny", false, 17))}};
  artifact = e2e_compile(o, "tiny.vlpc");
  folder = e2e_file("tuned");
  e2e_ok(tune(artifact, folder, false, &text));
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tiles_take_its_place),
      cmocka_unit_test(a_device_says_what_its_table_lacks),
      cmocka_unit_test(tuning_with_it_says_what_to_install),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
