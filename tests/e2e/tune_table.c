/* SPDX-License-Identifier: Apache-2.0 */
/* tune_table.c - see tune_table.h. */
#include "tests/e2e/tune_table.h"

#include <string.h>

#include "backends/opencl/cl_tiles.h"

vlpc_status tune(const char *artifact, const char *folder, bool clblast, const char **text) {
  vlpc_artifact *a = NULL;
  assert_int_equal(vlpc_artifact_open(artifact, NULL, &a), VLPC_OK);
  vlpc_tune_options o = {.struct_size = sizeof o, .device = "opencl", .cache_dir = folder,
                         .seconds = 1e6, .format = VLPC_JSON, .clblast = clblast};
  vlpc_status s = vlpc_tune(e2e_compiler, a, &o, text);
  vlpc_artifact_close(a);
  return s;
}

void table_names_clblast(const char *folder, uint32_t version) {
  ClLib lib;
  ClTable t;
  const ClDevice *x = NULL;
  ClDevices *all = arena_one(e2e, ClDevices);
  assert_int_equal(cl_lib_open(NULL, &lib), VLPC_OK);
  assert_int_equal(cl_devices(&lib, NULL, all), VLPC_OK);
  assert_int_equal(cl_choose(all, NULL, NULL, &x), VLPC_OK);
  assert_int_equal(cl_table_read(x, folder, e2e, NULL, &t), VLPC_OK);
  assert_true(t.n > 0);
  for (uint32_t i = 0; i < t.n; i++) t.at[i].clblast = version;
  cl_table_keep(x, folder, e2e, &t);
}

static void count(void *user, vlpc_log_level level, const char *line) {
  if (level == VLPC_LOG_WARNING && strstr(line, "CLBlast")) *(int *)user += 1;
}

Line tuned_line(const char *artifact, const char *folder, int *warned) {
  Line l = {0};
  vlpc_artifact_options ao = {.struct_size = sizeof ao, .log = count, .log_user = warned};
  vlpc_session_options so = {.struct_size = sizeof so, .threads = 1, .device = "opencl",
                             .cache_dir = folder};
  *warned = 0;
  assert_int_equal(vlpc_artifact_open(artifact, &ao, &l.a), VLPC_OK);
  if (vlpc_session_new(l.a, &so, &l.s) != VLPC_OK) fail_msg("%s", vlpc_session_error(l.s));
  return l;
}
