/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_doctor.c - vlpc doctor.
**
** Each check gives one line: good, or a fault and its cure.  The self-test
** writes the tiny CLIP into a folder of its own, compiles it, and runs it at
** every level of instructions that runs here; features must agree. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "cli/devices.h"
#include "cli/json.h"
#include "cli/machine.h"
#include "cli/model.h"

typedef struct {
  Cli *c;
  Json json;
} Doctor;

/* One line; cure is NULL when all is well. */
static void say(Doctor *d, const char *check, const char *found, const char *cure) {
  d->c->failed |= cure != NULL;
  if (!d->c->json) {
    printf("%-5s %-10s %s\n", cure == NULL ? "ok" : "FAULT", check, found);
    if (cure != NULL) printf("      %-10s do: %s\n", "", cure);
    return;
  }
  js_object(&d->json, NULL);
  js_text(&d->json, "check", check);
  js_bool(&d->json, "ok", cure == NULL);
  js_text(&d->json, "found", found);
  js_text(&d->json, "cure", cure);
  js_end(&d->json);
}

/* A library's error text without its last newline. */
static const char *one_line(Cli *c, const char *text) {
  return arena_strndup(c->arena, text, strcspn(text, "\n"));
}

/* --- machine and library --- */

static void check_cpu(Doctor *d) {
  Str s = {.arena = d->c->arena};
  str_printf(&s, "%s, %d processors, runs", cpu_model(), cpu_count());
  for (int i = 0; i < ISA__COUNT; i++)
    if (cpu_isa_runs((CpuIsa)i)) str_printf(&s, " %s", cpu_isa_name((CpuIsa)i));
  say(d, "cpu", str_text(&s), NULL);
}

static void check_devices(Doctor *d) {
  Str s = {.arena = d->c->arena};
  vlpc_device_info info = {.struct_size = sizeof info};
  for (uint32_t i = 0; vlpc_device(i, &info); i++)
    str_printf(&s, "%s%s", i > 0 ? ", " : "", info.name);
  say(d, "devices", str_text(&s), NULL);
}

static vlpc_compiler *check_compiler(Doctor *d) {
  vlpc_compiler *k = NULL;
  if (compiler_open(d->c, &k) == VLPC_OK) {
    say(d, "compiler", arena_strdup(d->c->arena, vlpc_compiler_version(k)), NULL);
    return k;
  }
  say(d, "compiler", d->c->foreign != NULL ? one_line(d->c, d->c->foreign) : "memory is out",
      "install libvlpc_compiler beside libvlpc, or name it with --compiler-library; without it "
      "only sealed artifacts and a warm code cache run");
  d->c->foreign = NULL;
  return NULL;
}

/* A machine without OpenCL is in order. */
static void check_opencl(Doctor *d) {
  FoundDevices f;
  Str s = {.arena = d->c->arena};
  if (devices_find(d->c, &f) != VLPC_OK) return;
  for (uint32_t i = 0; i < f.n; i++)
    str_printf(&s, "%s%s %s%s%s", i > 0 ? "; " : "", f.at[i].name, f.at[i].model,
               f.at[i].skipped ? ", not used: " : "", f.at[i].skipped ? f.at[i].skipped : "");
  if (f.missing) str_printf(&s, "none (see vlpc devices)");
  say(d, "opencl", str_text(&s), NULL);
  for (uint32_t i = 0; i < f.n; i++)
    if (f.at[i].untuned)
      say(d, "tuning", arena_printf(d->c->arena, "%s: %s", f.at[i].name, f.at[i].untuned),
          "run vlpc tune again for the artifacts in use, or install that CLBlast");
}

static void check_cache(Doctor *d) {
  Cli *c = d->c;
  const char *path = cache_folder(c);
  struct stat st;
  if (path == NULL || stat(path, &st) != 0) {
    say(d, "cache", opt_given(c, no_cache) ? "not used" : "there is no folder for it",
        opt_given(c, no_cache) ? NULL : "set XDG_CACHE_HOME, or name a folder with --cache-dir");
    return;
  }
  uint64_t files = 0, bytes = 0;
  DIR *dir = opendir(path);
  for (struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir)) {
    struct stat f;
    if (fstatat(dirfd(dir), e->d_name, &f, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(f.st_mode))
      continue;
    files++, bytes += (uint64_t)f.st_size;
  }
  if (dir != NULL) closedir(dir);
  const char *found = arena_printf(c->arena, "%s, %" PRIu64 " files, %" PRIu64 " bytes, mode %03o",
                                   path, files, bytes, (unsigned)st.st_mode & 0777u);
  bool private = st.st_uid == geteuid() && (st.st_mode & 077u) == 0;
  say(d, "cache", found,
      private ? NULL : arena_printf(c->arena, "chmod 700 %s, as its owner", path));
}

/* --- self-test --- */

enum { TINY_PIXELS = 3 * 32 * 32, TINY_WIDTH = 48 };

/* Features of a fixed image at one level; false with the error in foreign. */
static VlStatus tiny_features(Cli *c, vlpc_artifact *a, const char *isa, float out[TINY_WIDTH]) {
  static float image[TINY_PIXELS];
  for (int i = 0; i < TINY_PIXELS; i++) image[i] = (float)rng_normal((Rng){1, 1}, (uint64_t)i);
  vlpc_session_options o = {.struct_size = sizeof o,
                            .isa = isa,
                            .threads = 1,
                            .compiler_library = opt(c, compiler_library)};
  vlpc_tensor in = {image, VLPC_F32, 4, {1, 3, 32, 32}};
  vlpc_session *s = NULL;
  VlStatus status = vlpc_session_new(a, &o, &s);
  if (status == VLPC_OK) status = vlpc_session_set_input(s, "image", "image", &in);
  if (status == VLPC_OK)
    status = vlpc_session_set_output(s, "image", "image_features", out, TINY_WIDTH * sizeof *out);
  if (status == VLPC_OK) status = vlpc_session_run(s, "image");
  cli_foreign(c, status, vlpc_session_error(s), vlpc_session_error_json(s));
  vlpc_session_free(s);
  return status;
}

static VlStatus tiny_artifact(Cli *c, vlpc_compiler *k, const char *folder, vlpc_artifact **out) {
  const char *path = arena_printf(c->arena, "%s/tiny.vlpc", folder);
  vlpc_model_options model = {.struct_size = sizeof model,
                              .kind = "clip",
                              .size = "tiny",
                              .directory = folder,
                              .seed = 1,
                              .two_files = 1};
  vlpc_compile_options o = {.struct_size = sizeof o, .output = path};
  o.models[0] = arena_printf(c->arena, "%s/image.onnx", folder);
  o.models[1] = arena_printf(c->arena, "%s/text.onnx", folder);
  VL_TRY(fail_compiler(c, k, vlpc_model_write(k, &model)));
  VL_TRY(fail_compiler(c, k, vlpc_compile(k, &o)));
  VlStatus s = vlpc_artifact_open(path, NULL, out);
  return cli_foreign(c, s, vlpc_artifact_error(*out), vlpc_artifact_error_json(*out));
}

static void remove_folder(Cli *c, const char *folder) {
  static const char *const name[] = {"image.onnx", "text.onnx", "tiny.vlpc"};
  for (size_t i = 0; i < VL_COUNT(name); i++)
    unlink(arena_printf(c->arena, "%s/%s", folder, name[i]));
  rmdir(folder);
}

/* Runs the artifact at each level; *worst is the largest difference. */
static VlStatus run_levels(Cli *c, vlpc_artifact *a, Str *names, double *worst) {
  float first[TINY_WIDTH], other[TINY_WIDTH];
  VL_TRY(tiny_features(c, a, cpu_isa_name(ISA_PORTABLE), first));
  for (int isa = 0; isa < ISA__COUNT; isa++) {
    if (!cpu_isa_runs((CpuIsa)isa)) continue;
    VL_TRY(tiny_features(c, a, cpu_isa_name((CpuIsa)isa), other));
    str_printf(names, "%s%s", isa > 0 ? ", " : "", cpu_isa_name((CpuIsa)isa));
    for (int i = 0; i < TINY_WIDTH; i++)
      *worst = fmax(*worst, fabs((double)first[i] - (double)other[i]));
  }
  return VLPC_OK;
}

static void self_test(Doctor *d, vlpc_compiler *k) {
  Cli *c = d->c;
  const char *tmp = getenv("TMPDIR");
  char *folder = arena_printf(c->arena, "%s/vlpc-doctor-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  vlpc_artifact *a = NULL;
  Str levels = {.arena = c->arena};
  double worst = 0;
  if (mkdtemp(folder) == NULL) {
    say(d, "self-test", "there is no place for a small file", "set TMPDIR to a folder to write in");
    return;
  }
  VlStatus s = tiny_artifact(c, k, folder, &a);
  if (s == VLPC_OK) s = run_levels(c, a, &levels, &worst);
  vlpc_artifact_close(a);
  remove_folder(c, folder);
  const char *report = "report it with the output of 'vlpc doctor --json'";
  if (s != VLPC_OK)
    say(d, "self-test", c->foreign != NULL ? one_line(c, c->foreign) : "memory is out", report);
  else
    say(d, "self-test", arena_printf(c->arena, "%s agree within %.1e", str_text(&levels), worst),
        worst < 1e-4 ? NULL : report);
  c->foreign = NULL;
}

VlStatus cmd_doctor(Cli *c) {
  Doctor d = {.c = c, .json = js_start(c)};
  js_text(&d.json, "version", vlpc_version());
  js_list(&d.json, "checks");
  check_cpu(&d);
  check_devices(&d);
  vlpc_compiler *k = check_compiler(&d);
  if (k != NULL) check_opencl(&d);
  check_cache(&d);
  if (k != NULL) self_test(&d, k);
  if (!c->json) return VLPC_OK;
  js_end(&d.json);
  js_bool(&d.json, "ok", !c->failed);
  js_print(&d.json);
  return VLPC_OK;
}
