/* SPDX-License-Identifier: Apache-2.0 */
/* cl_absent.c - the OpenCL device of a vlpc that was built without OpenCL's
** headers: it says so. */
#include "backends/opencl/opencl.h"

static VlStatus absent(Diag *d) {
  VlStatus s = diag_error(d, DIAG_CL_MISSING, (DiagAt){NULL, "device opencl"},
                          "this vlpc was built without OpenCL");
  diag_fix(d, "install opencl-headers and build vlpc again");
  return s;
}

static VlStatus absent_target(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]) {
  (void)wanted;
  out[0] = 0;
  return absent(d);
}

VlStatus opencl_device(uint32_t i, Arena *a, Diag *d, vlpc_found_device *out, bool *more) {
  (void)i, (void)a, (void)out;
  *more = false;
  return absent(d);
}

VlStatus opencl_tune(const DeviceLoad *l, const OpenclTuneOptions *o, Arena *a, Diag *d,
                     OpenclTuning *out) {
  (void)l, (void)o, (void)a;
  *out = (OpenclTuning){0};
  return absent(d);
}

/* The target is asked for first, so nothing else is called. */
const DeviceDriver device_opencl = {
    .name = "opencl",
    .what = "a GPU or processor, through its OpenCL driver (not built in)",
    .target = absent_target,
};
