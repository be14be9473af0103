/* SPDX-License-Identifier: Apache-2.0 */
/* cl_device.c - see cl_device.h. */
#include "backends/opencl/cl_device.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_clblast.h"
#include "backends/opencl/cl_tiles.h"

/* ---- errors -------------------------------------------------------------- */

typedef struct {
  cl_int number;
  const char *name, *cure;
} ErrorRow;

static const ErrorRow error_rows[] = {
#define CLE(number, name, cure) {number, #name, cure},
#include "backends/opencl/cl_errors.def"
};

static const ErrorRow *row_of(cl_int error) {
  for (size_t i = 0; i < VL_COUNT(error_rows); i++) {
    if (error_rows[i].number == error) return &error_rows[i];
  }
  return NULL;
}

const char *cl_error_name(cl_int error) {
  const ErrorRow *r = row_of(error);
  return r ? r->name : "an OpenCL error that vlpc does not know";
}

const char *cl_error_cure(cl_int error) {
  const ErrorRow *r = row_of(error);
  return r && r->cure ? r->cure : "update the driver, or run with --device cpu; please report it";
}

bool cl_error_is_loss(cl_int error) {
  return error == CL_OUT_OF_RESOURCES || error == CL_INVALID_COMMAND_QUEUE ||
         error == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST || error == -9999;
}

VlStatus cl_fail(Diag *d, const char *what, cl_int error) {
  VlStatus s = diag_error(d, DIAG_CL_CALL, (DiagAt){NULL, "device opencl"}, "%s failed", what);
  diag_found(d, "%s (%d)", cl_error_name(error), (int)error);
  diag_fix(d, "%s", cl_error_cure(error));
  return s;
}

/* ---- loader -------------------------------------------------------------- */

#define LOADER "libOpenCL.so.1"

static VlStatus missing(Diag *d, const char *what, const char *found) {
  VlStatus s = diag_error(d, DIAG_CL_MISSING, (DiagAt){NULL, "device opencl"}, "%s", what);
  diag_found(d, "%s", found);
  diag_fix(d, "install the OpenCL loader (Debian: ocl-icd-libopencl1) and a driver: the GPU "
              "vendor's, or pocl-opencl-icd for the processor");
  return s;
}

const char *cl_symbols(void *library, const ClSymbol *want, size_t n) {
  for (size_t i = 0; i < n; i++) {
    void *symbol = dlsym(library, want[i].name);
    if (!symbol) return want[i].name;
    memcpy(want[i].to, &symbol, sizeof symbol); /* ISO C has no cast from object to function */
  }
  return NULL;
}

VlStatus cl_lib_open(Diag *d, ClLib *out) {
  *out = (ClLib){0};
  out->handle = dlopen(LOADER, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!out->handle) return missing(d, "the OpenCL loader cannot be opened", dlerror());
  const ClSymbol want[] = {
#define FN(name) {#name, &out->name},
#include "backends/opencl/cl_functions.def"
  };
  const char *lacks = cl_symbols(out->handle, want, VL_COUNT(want));
  return lacks ? missing(d, "the OpenCL loader is older than OpenCL 1.2", lacks) : VLPC_OK;
}

#ifndef CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV /* cl_nv_device_attribute_query */
#define CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV 0x4000
#endif
enum { NVIDIA = 0x10de }; /* PCI number of the vendor */

/* ---- one device ---------------------------------------------------------- */

static void device_text(const ClLib *l, cl_device_id id, cl_device_info what,
                        char out[CL_TEXT_MAX]) {
  char text[1024] = "";
  if (l->clGetDeviceInfo(id, what, sizeof text - 1, text, NULL) != CL_SUCCESS) text[0] = 0;
  snprintf(out, CL_TEXT_MAX, "%.*s", CL_TEXT_MAX - 1, text);
}

static uint64_t device_ulong(const ClLib *l, cl_device_id id, cl_device_info what) {
  cl_ulong v = 0;
  return l->clGetDeviceInfo(id, what, sizeof v, &v, NULL) == CL_SUCCESS ? v : 0;
}

static uint32_t device_uint(const ClLib *l, cl_device_id id, cl_device_info what) {
  cl_uint v = 0;
  return l->clGetDeviceInfo(id, what, sizeof v, &v, NULL) == CL_SUCCESS ? v : 0;
}

static const ClClass classes[] = {
#define CLASS(name, cpu, vendor, capability, rows, cols, depth, ...) \
  {#name, cpu, {rows, cols, depth}, __VA_ARGS__},
#include "backends/opencl/cl_classes.def"
};
static const struct {
  uint32_t vendor, capability;
} class_wants[] = {
#define CLASS(name, cpu, vendor, capability, ...) {vendor, capability},
#include "backends/opencl/cl_classes.def"
};

bool cl_is_cpu(const ClDevice *x) { return (x->type & CL_DEVICE_TYPE_CPU) != 0; }

static bool fits(uint32_t wanted, uint32_t found) { return wanted == 0 || wanted == found; }

static const ClClass *class_of(const ClDevice *x, uint32_t vendor, bool has_vectors) {
  bool cpu = cl_is_cpu(x) && has_vectors;
  for (size_t i = 0; i < VL_COUNT(classes); i++) {
    if (classes[i].cpu == cpu && fits(class_wants[i].vendor, vendor) &&
        fits(class_wants[i].capability, x->capability))
      return &classes[i];
  }
  return &classes[VL_COUNT(classes) - 1];
}

const ClClass *cl_class(const char *name) {
  for (size_t i = 0; i < VL_COUNT(classes); i++) {
    if (strcmp(classes[i].name, name) == 0) return &classes[i];
  }
  return NULL;
}

/* What a device must have; the first that is missing is the reason. */
static void judge(const ClLib *l, ClDevice *x) {
  char version[CL_TEXT_MAX];
  size_t items = 0;
  device_text(l, x->id, CL_DEVICE_VERSION, version);
  l->clGetDeviceInfo(x->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof items, &items, NULL);
  x->max_items = items;
  int major = 0, minor = 0;
  char *end = version;
  if (strncmp(version, "OpenCL ", 7) == 0) major = (int)strtol(version + 7, &end, 10);
  if (*end == '.') minor = (int)strtol(end + 1, NULL, 10);
  if (!device_uint(l, x->id, CL_DEVICE_AVAILABLE))
    snprintf(x->skipped, sizeof x->skipped, "the driver says that it is not available");
  else if (!device_uint(l, x->id, CL_DEVICE_COMPILER_AVAILABLE))
    snprintf(x->skipped, sizeof x->skipped, "its driver has no compiler");
  else if (!device_uint(l, x->id, CL_DEVICE_ENDIAN_LITTLE))
    snprintf(x->skipped, sizeof x->skipped, "it is big-endian");
  else if (major * 100 + minor < 102)
    snprintf(x->skipped, sizeof x->skipped, "it has %.40s; OpenCL 1.2 is needed", version);
  else if (x->local_memory < CL_LOCAL_BYTES || x->max_items < 256)
    snprintf(x->skipped, sizeof x->skipped,
             "groups of %" PRIu64 " items and %" PRIu64 " bytes are too small", x->max_items,
             x->local_memory);
}

static void describe(const ClLib *l, ClDevice *x) {
  char extensions[4096] = "";
  l->clGetDeviceInfo(x->id, CL_DEVICE_TYPE, sizeof x->type, &x->type, NULL);
  device_text(l, x->id, CL_DEVICE_NAME, x->name);
  device_text(l, x->id, CL_DRIVER_VERSION, x->driver);
  x->memory = device_ulong(l, x->id, CL_DEVICE_GLOBAL_MEM_SIZE);
  x->max_alloc = device_ulong(l, x->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  x->local_memory = device_ulong(l, x->id, CL_DEVICE_LOCAL_MEM_SIZE);
  if (l->clGetDeviceInfo(x->id, CL_DEVICE_EXTENSIONS, sizeof extensions - 1, extensions, NULL) ==
      CL_SUCCESS)
    x->fp64 = strstr(extensions, "cl_khr_fp64") != NULL;
  cl_device_fp_config floats = device_ulong(l, x->id, CL_DEVICE_SINGLE_FP_CONFIG);
  x->exact_division = (floats & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
  x->keeps_kernels = strcmp(x->platform_name, "Portable Computing Language") == 0;
  x->units = device_uint(l, x->id, CL_DEVICE_MAX_COMPUTE_UNITS);
  uint32_t vendor = device_uint(l, x->id, CL_DEVICE_VENDOR_ID);
  if (vendor == NVIDIA)
    x->capability = device_uint(l, x->id, CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV);
  x->class = class_of(x, vendor, device_uint(l, x->id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT) > 1);
  judge(l, x);
}

static ClTensor tensor_of(const ClDevice *x) {
  enum { CAPABILITY = 8, LOCAL_BYTES = 48 * 1024 };
  if (!x->class->tensor || x->local_memory < LOCAL_BYTES) return TENSOR_NONE;
  if (x->capability == 0) return TENSOR_PLAIN;
  return x->capability >= CAPABILITY ? TENSOR_PTX : TENSOR_NONE;
}

ClTarget cl_target_of(const ClDevice *x, const ClTable *tuned) {
  ClTensor tensor = tensor_of(x);
  return (ClTarget){.class = x->class, .fp64 = x->fp64, .tensor = tensor,
                    .warpgroups = tensor != TENSOR_NONE && x->class->tensor == 2,
                    .units = x->units, .tuned = tuned};
}

/* ---- all ----------------------------------------------------------------- */

enum { PLATFORMS_MAX = 16 };

static void add_platform(const ClLib *l, cl_platform_id id, uint32_t number, ClDevices *out) {
  cl_device_id ids[CL_DEVICES_MAX];
  cl_uint n = 0;
  char name[CL_TEXT_MAX] = "";
  l->clGetPlatformInfo(id, CL_PLATFORM_NAME, sizeof name - 1, name, NULL);
  if (l->clGetDeviceIDs(id, CL_DEVICE_TYPE_ALL, CL_DEVICES_MAX, ids, &n) != CL_SUCCESS) return;
  for (cl_uint i = 0; i < n && i < CL_DEVICES_MAX && out->n < CL_DEVICES_MAX; i++) {
    ClDevice *x = &out->at[out->n++];
    *x = (ClDevice){.platform = number, .number = i, .platform_id = id, .id = ids[i]};
    memcpy(x->platform_name, name, sizeof name);
    describe(l, x);
  }
}

VlStatus cl_devices(const ClLib *l, Diag *d, ClDevices *out) {
  cl_platform_id ids[PLATFORMS_MAX];
  cl_uint n = 0;
  out->n = 0;
  cl_int error = l->clGetPlatformIDs(PLATFORMS_MAX, ids, &n);
  if (error != CL_SUCCESS || n == 0)
    return missing(d, "no OpenCL driver is installed",
                   error == CL_SUCCESS ? "no platform" : cl_error_name(error));
  for (cl_uint i = 0; i < n && i < PLATFORMS_MAX; i++) add_platform(l, ids[i], i, out);
  return out->n > 0 ? VLPC_OK : missing(d, "no OpenCL platform has a device", "platforms alone");
}

/* "0:1" or "0"; false when it is neither. */
static bool parse_choice(const char *text, int64_t *platform, int64_t *device) {
  char first[16];
  const char *colon = strchr(text, ':');
  size_t n = colon ? (size_t)(colon - text) : strlen(text);
  *device = -1;
  if (n >= sizeof first) return false;
  memcpy(first, text, n);
  first[n] = 0;
  return parse_i64(first, platform) && (!colon || parse_i64(colon + 1, device));
}

static VlStatus no_such(const ClDevices *all, const char *wanted, const char *why, Diag *d) {
  VlStatus s = diag_error(d, DIAG_CL_CHOICE, (DiagAt){NULL, "device opencl"},
                          "no OpenCL device '%s' can be used", wanted ? wanted : "of any kind");
  if (why) diag_found(d, "%s", why);
  diag_expected(d, "PLATFORM:DEVICE of one of %u devices", all->n);
  diag_fix(d, "vlpc devices lists them, with the reason when one cannot be used");
  return s;
}

VlStatus cl_choose(const ClDevices *all, const char *wanted, Diag *d, const ClDevice **out) {
  int64_t platform = -1, device = -1;
  const char *why = NULL;
  *out = NULL;
  if (wanted && !parse_choice(wanted, &platform, &device))
    return no_such(all, wanted, "not PLATFORM or PLATFORM:DEVICE", d);
  for (uint32_t i = 0; i < all->n; i++) {
    const ClDevice *x = &all->at[i];
    if (wanted && (x->platform != platform || (device >= 0 && x->number != device))) continue;
    why = x->skipped[0] ? x->skipped : why;
    if (x->skipped[0]) continue;
    if (!*out || (cl_is_cpu(*out) && !cl_is_cpu(x))) *out = x;
  }
  return *out ? VLPC_OK : no_such(all, wanted, why, d);
}

/* ---- the list ------------------------------------------------------------ */

/* A folder that is not private is doctor's to tell. */
static const char *untuned(const ClDevice *x, const char *cache_dir, Arena *a) {
  ClTable t;
  if (!cache_dir || cl_table_read(x, cache_dir, a, NULL, &t) != VLPC_OK) return NULL;
  return cl_clblast_note(&t, NULL, a);
}

VlStatus opencl_device(uint32_t i, Arena *a, Diag *d, vlpc_found_device *out, bool *more) {
  ClLib lib;
  ClDevices *all = arena_one(a, ClDevices);
  *more = false;
  VL_TRY(cl_lib_open(d, &lib));
  VL_TRY(cl_devices(&lib, d, all));
  if (i >= all->n) return VLPC_OK;
  const ClDevice *x = &all->at[i];
  *more = true;
  *out = (vlpc_found_device){
      .name = arena_printf(a, "opencl:%u:%u", x->platform, x->number),
      .platform = arena_strdup(a, x->platform_name),
      .model = arena_strdup(a, x->name),
      .driver = arena_strdup(a, x->driver),
      .kind = cl_is_cpu(x) ? "cpu" : x->type & CL_DEVICE_TYPE_GPU ? "gpu" : "accelerator",
      .skipped = x->skipped[0] ? arena_strdup(a, x->skipped) : NULL,
      .memory_bytes = x->memory,
      .cache_dir = out->cache_dir,
      .untuned = untuned(x, out->cache_dir, a)};
  return VLPC_OK;
}
