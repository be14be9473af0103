/* SPDX-License-Identifier: Apache-2.0 */
/* artifact_write.c - writes a .vlpc file in one pass.
**
** The first page is reserved for header and table and filled at the end, when
** every offset and hash is known. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/artifact.h"

struct ArtifactWriter {
  FileWriter *file;
  XXH3_state_t *hash; /* of the section being written */
  bool in_section;
  uint32_t n;
  ArtifactRow row[ARTIFACT_MAX_SECTIONS];
};

static void put_hash(XXH128_hash_t h, uint8_t out[16]) {
  XXH128_canonical_t c;
  XXH128_canonicalFromHash(&c, h);
  memcpy(out, c.digest, 16);
}

VlStatus artifact_writer_open(const char *path, Diag *d, ArtifactWriter **out) {
  static const uint8_t page[ARTIFACT_ALIGN];
  ArtifactWriter *w = calloc(1, sizeof *w);
  *out = NULL;
  if (w) w->hash = XXH3_createState();
  if (!w || !w->hash) {
    free(w);
    return diag_error(d, DIAG_NOMEM, (DiagAt){path, NULL}, "no memory for the artifact writer");
  }
  VlStatus s = io_create(path, d, &w->file);
  if (s == VLPC_OK) s = io_write(w->file, page, sizeof page);
  if (s != VLPC_OK) {
    artifact_writer_abandon(w);
    return s;
  }
  *out = w;
  return VLPC_OK;
}

VlStatus artifact_writer_begin(ArtifactWriter *w, SectionKind kind) {
  VL_CHECK(!w->in_section && kind > 0 && kind < SECTION__END, "a section begins in another");
  VL_CHECK(w->n == 0 || w->row[w->n - 1].kind < kind, "sections come in ascending order");
  VL_TRY(io_pad_to(w->file, ARTIFACT_ALIGN));
  bool skips = kind == SECTION_calibration || kind == SECTION_kept;
  uint32_t flags = skips ? 0 : ARTIFACT_REQUIRED;
  w->row[w->n] = (ArtifactRow){.kind = kind, .flags = flags, .offset = io_offset(w->file)};
  XXH3_128bits_reset(w->hash);
  w->in_section = true;
  return VLPC_OK;
}

VlStatus artifact_writer_add(ArtifactWriter *w, const void *p, size_t n) {
  VL_CHECK(w->in_section, "bytes outside a section");
  if (n == 0) return VLPC_OK;
  XXH3_128bits_update(w->hash, p, n);
  return io_write(w->file, p, n);
}

uint64_t artifact_writer_at(const ArtifactWriter *w) {
  return w->in_section ? io_offset(w->file) - w->row[w->n].offset : 0;
}

VlStatus artifact_writer_pad(ArtifactWriter *w, uint64_t align) {
  static const uint8_t zero[ARTIFACT_ALIGN];
  VL_CHECK(align <= ARTIFACT_ALIGN, "padding goes to a page at most");
  uint64_t at = artifact_writer_at(w);
  return artifact_writer_add(w, zero, (size_t)(vl_align_up(at, align) - at));
}

VlStatus artifact_writer_end(ArtifactWriter *w) {
  VL_CHECK(w->in_section, "a section ends that was not begun");
  w->row[w->n].bytes = artifact_writer_at(w);
  put_hash(XXH3_128bits_digest(w->hash), w->row[w->n].hash);
  w->in_section = false;
  w->n++;
  return VLPC_OK;
}

VlStatus artifact_writer_section(ArtifactWriter *w, SectionKind kind, const void *p, size_t n) {
  VL_TRY(artifact_writer_begin(w, kind));
  VL_TRY(artifact_writer_add(w, p, n));
  return artifact_writer_end(w);
}

static VlStatus write_head(ArtifactWriter *w) {
  ArtifactHeader h = {.version = ARTIFACT_VERSION,
                      .endian = ARTIFACT_ENDIAN,
                      .file_bytes = io_offset(w->file),
                      .n_sections = w->n,
                      .header_bytes = sizeof h,
                      .table_offset = sizeof h};
  memcpy(h.magic, ARTIFACT_MAGIC, sizeof h.magic);
  XXH64_hash_t seed = XXH3_64bits(&h, offsetof(ArtifactHeader, hash));
  put_hash(XXH3_128bits_withSeed(w->row, w->n * sizeof w->row[0], seed), h.hash);
  VL_TRY(io_write_at(w->file, 0, &h, sizeof h));
  return io_write_at(w->file, sizeof h, w->row, w->n * sizeof w->row[0]);
}

VlStatus artifact_writer_commit(ArtifactWriter *w) {
  VL_CHECK(!w->in_section, "the last section was not ended");
  VlStatus s = write_head(w);
  if (s == VLPC_OK) {
    s = io_commit(w->file);
    w->file = NULL;
  }
  artifact_writer_abandon(w);
  return s;
}

void artifact_writer_abandon(ArtifactWriter *w) {
  if (!w) return;
  io_abandon(w->file);
  XXH3_freeState(w->hash);
  free(w);
}

static VlStatus copy_sections(ArtifactWriter *w, const ArtifactFile *f) {
  for (uint32_t i = 0; i < f->header.n_sections; i++) {
    const ArtifactRow *r = &f->row[i];
    VL_TRY(artifact_writer_section(w, (SectionKind)r->kind, f->file.at + r->offset,
                                   (size_t)r->bytes));
  }
  return VLPC_OK;
}

VlStatus artifact_append(const char *from, const char *to, SectionKind kind, const Str *bytes,
                         Diag *d) {
  ArtifactFile f;
  ArtifactWriter *w = NULL;
  VL_TRY(artifact_map(from, d, &f));
  VlStatus s = artifact_writer_open(to, d, &w);
  if (s == VLPC_OK) s = copy_sections(w, &f);
  if (s == VLPC_OK) s = artifact_writer_section(w, kind, bytes->at, bytes->n);
  artifact_unmap(&f);
  if (s == VLPC_OK) return artifact_writer_commit(w);
  artifact_writer_abandon(w);
  return s;
}
