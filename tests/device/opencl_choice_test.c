/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_choice_test.c - which class a device is of, and which device is taken when none is
** named, by what its driver says.  The driver is this file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backends/opencl/cl_device.h"

#define CAPABILITY_MAJOR 0x4000 /* of cl_nv_device_attribute_query */

typedef struct {
  const char *name;
  cl_device_type type;
  cl_uint vendor, capability, vector; /* native width of floats */
  const char *class;
} Row;

static const Row rows[] = {
    {"PoCL", CL_DEVICE_TYPE_CPU, 0x8086, 0, 16, "cpu"},
    {"llvmpipe", CL_DEVICE_TYPE_CPU, 0, 0, 1, "other"},
    {"Xe", CL_DEVICE_TYPE_GPU, 0x8086, 0, 1, "intel"},
    {"Navi", CL_DEVICE_TYPE_GPU, 0x1002, 0, 1, "amd"},
    {"A100", CL_DEVICE_TYPE_GPU, 0x10de, 8, 1, "nvidia"},
    {"H100", CL_DEVICE_TYPE_GPU, 0x10de, 9, 1, "hopper"},
    {"Mali", CL_DEVICE_TYPE_GPU, 0x13b5, 0, 4, "other"},
};

static const Row *here; /* the first of N_HERE devices of platform 0 */
static cl_uint n_here;

static cl_int platforms(cl_uint room, cl_platform_id *out, cl_uint *n) {
  static int one;
  if (room > 0) *out = (cl_platform_id)(void *)&one;
  *n = 1;
  return CL_SUCCESS;
}

static cl_int platform_info(cl_platform_id p, cl_platform_info what, size_t room, void *out,
                            size_t *n) {
  (void)p, (void)what, (void)room, (void)out, (void)n;
  return CL_INVALID_VALUE;
}

static cl_int ids(cl_platform_id p, cl_device_type type, cl_uint room, cl_device_id *out,
                  cl_uint *n) {
  (void)p, (void)type;
  for (*n = 0; *n < n_here && *n < room; ++*n) out[*n] = (cl_device_id)(void *)(here + *n);
  return CL_SUCCESS;
}

static cl_int device_info(cl_device_id id, cl_device_info what, size_t room, void *out,
                          size_t *n) {
  const Row *r = (const Row *)(void *)id;
  const cl_ulong numbers[] = {r->type, r->vendor, r->capability, r->vector, 1, 1024, 1 << 16};
  static const cl_device_info of[] = {
      CL_DEVICE_TYPE,        CL_DEVICE_VENDOR_ID,
      CAPABILITY_MAJOR,      CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT,
      CL_DEVICE_AVAILABLE,   CL_DEVICE_MAX_WORK_GROUP_SIZE,
      CL_DEVICE_LOCAL_MEM_SIZE};
  (void)n;
  if (what == CL_DEVICE_VERSION) memcpy(out, "OpenCL 3.0", sizeof "OpenCL 3.0");
  if (what == CL_DEVICE_VERSION) return CL_SUCCESS;
  if (what == CL_DEVICE_NAME) memcpy(out, r->name, strlen(r->name) + 1);
  if (what == CL_DEVICE_NAME) return CL_SUCCESS;
  if (what == CL_DEVICE_COMPILER_AVAILABLE || what == CL_DEVICE_ENDIAN_LITTLE)
    what = CL_DEVICE_AVAILABLE;
  for (size_t i = 0; i < VL_COUNT(of); i++) {
    if (of[i] != what) continue;
    assert_true(room <= sizeof numbers[i]);
    memcpy(out, &numbers[i], room); /* little-endian */
    return CL_SUCCESS;
  }
  return CL_INVALID_VALUE;
}

static const ClLib driver = {.clGetPlatformIDs = platforms,
                             .clGetPlatformInfo = platform_info,
                             .clGetDeviceIDs = ids,
                             .clGetDeviceInfo = device_info};

/* Devices from ROW on, N of them. */
static ClDevices of_rows(size_t row, cl_uint n) {
  ClDevices all = {.n = 0};
  here = &rows[row];
  n_here = n;
  assert_int_equal(cl_devices(&driver, NULL, &all), VLPC_OK);
  assert_int_equal(all.n, n);
  return all;
}

/* The class is that of what computes: vectors of an item, or items. */
static void test_class(void **state) {
  (void)state;
  ClDevices all = of_rows(0, VL_COUNT(rows));
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    assert_string_equal(all.at[i].name, rows[i].name);
    assert_string_equal(all.at[i].class->name, rows[i].class);
    assert_string_equal(all.at[i].skipped, "");
  }
}

static void takes(size_t row, cl_uint n, const char *name) {
  ClDevices all = of_rows(row, n);
  const ClDevice *x = NULL;
  assert_int_equal(cl_choose(&all, NULL, NULL, &x), VLPC_OK);
  assert_string_equal(x->name, name);
}

/* A GPU goes before a processor, whatever kernels this one takes. */
static void test_choice(void **state) {
  (void)state;
  takes(0, 2, "PoCL");
  takes(1, 1, "llvmpipe");
  takes(1, 2, "Xe");
  takes(0, VL_COUNT(rows), "Xe");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_class),
      cmocka_unit_test(test_choice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
