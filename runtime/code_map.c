/* SPDX-License-Identifier: Apache-2.0 */
/* code_map.c - from a code file to kernels that can be called. */
#include "runtime/code_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* ---- checks ------------------------------------------------------------- */

static VlStatus bad_code(Diag *d, const char *what) {
  VlStatus s = diag_error(d, DIAG_CODE_IMAGE, (DiagAt){NULL, "machine code"}, "%s", what);
  diag_fix(d, "empty the code cache, or make a sealed artifact again");
  return s;
}

static VlStatus check_header(const CodeHeader *h, uint64_t n, const char *target, Diag *d) {
  uint64_t table;
  if (h->magic != CODE_MAGIC || h->version != CODE_VERSION || h->reserved != 0)
    return bad_code(d, "the code file has an unknown header");
  if (!memchr(h->target, 0, sizeof h->target) || strcmp(h->target, target) != 0) {
    VlStatus s = bad_code(d, "the code was made for another target");
    diag_found(d, "%.32s", h->target);
    diag_expected(d, "%s", target);
    return s;
  }
  table = sizeof *h + (uint64_t)h->n_kernels * sizeof(CodeKernel);
  if (h->n_kernels > CODE_MAX_KERNELS || h->image_offset < table || h->image_offset % 4096 ||
      !vl_range_ok(h->image_offset, h->image_bytes, n))
    return bad_code(d, "the code file's parts lie outside it");
  return VLPC_OK;
}

static VlStatus check_kernel(const CodeHeader *h, const CodeKernel *k, Diag *d) {
  if (k->run < h->image_bytes && k->tasks < h->image_bytes &&
      k->reach < h->image_bytes && k->scratch_bytes <= CODE_MAX_SCRATCH)
    return VLPC_OK;
  return bad_code(d, "a kernel of the code file lies outside its image");
}

/* ---- mapping ------------------------------------------------------------ */

static void *map_fd(int fd, const uint8_t *image, uint64_t n) {
  void *at = MAP_FAILED;
  if (fd < 0) return at;
  if (io_write_fd(fd, 0, image, (size_t)n))
    at = mmap(NULL, (size_t)n, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
  int error = errno;
  close(fd);
  errno = error;
  return at;
}

static int nameless(void) {
  int fd = memfd_create("vlpc-code", MFD_CLOEXEC | MFD_EXEC);
  /* kernels before 6.3 do not know the flag and do not need it */
  return fd < 0 && errno == EINVAL ? memfd_create("vlpc-code", MFD_CLOEXEC) : fd;
}

static VlStatus map_image(const uint8_t *image, uint64_t n, const char *scratch_dir, Diag *d,
                          CodeMap *out) {
  void *at = map_fd(nameless(), image, n);
  int error = errno;
  if (at == MAP_FAILED && scratch_dir)
    at = map_fd(open(scratch_dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), image, n);
  if (at == MAP_FAILED) {
    VlStatus s = diag_error(d, DIAG_CODE_MAP, (DiagAt){NULL, "machine code"},
                            "the system refuses executable memory: errno %d", error);
    diag_fix(d, "allow it (vm.memfd_noexec), or name a cache folder on a disk that is not "
                "mounted noexec");
    return s;
  }
  out->image = at;
  out->image_bytes = n;
  __builtin___clear_cache((char *)at, (char *)at + n);
  return VLPC_OK;
}

/* ISO C has no cast from data to function pointers; the bytes are the same. */
static CodeEntry entry_of(const uint8_t *image, const CodeKernel *k) {
  CodeEntry e = {.n_operands = k->n_operands, .n_sizes = k->n_sizes};
  const uint8_t *run = image + k->run, *tasks = image + k->tasks, *reach = image + k->reach;
  memcpy(&e.run, &run, sizeof e.run);
  memcpy(&e.tasks, &tasks, sizeof e.tasks);
  memcpy(&e.reach, &reach, sizeof e.reach);
  return e;
}

VlStatus code_map(const uint8_t *file, uint64_t n, const char *target, const char *scratch_dir,
                  Diag *d, CodeMap *out) {
  CodeHeader h;
  *out = (CodeMap){0};
  if (n < sizeof h) return bad_code(d, "the code file is cut short");
  memcpy(&h, file, sizeof h);
  VL_TRY(check_header(&h, n, target, d));
  if (h.n_kernels == 0) return VLPC_OK;
  out->kernels = calloc(h.n_kernels, sizeof *out->kernels);
  if (!out->kernels) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the kernels");
  out->n_kernels = h.n_kernels;
  VlStatus s = map_image(file + h.image_offset, h.image_bytes, scratch_dir, d, out);
  for (uint32_t i = 0; s == VLPC_OK && i < h.n_kernels; i++) {
    CodeKernel k;
    memcpy(&k, file + sizeof h + i * sizeof k, sizeof k);
    s = check_kernel(&h, &k, d);
    if (s == VLPC_OK) out->kernels[i] = entry_of(out->image, &k);
    out->scratch_bytes = VL_MAX(out->scratch_bytes, k.scratch_bytes);
  }
  if (s != VLPC_OK) code_unmap(out);
  return s;
}

void code_unmap(CodeMap *m) {
  if (m->image) munmap(m->image, (size_t)m->image_bytes);
  free(m->kernels);
  *m = (CodeMap){0};
}
