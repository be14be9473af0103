/* SPDX-License-Identifier: Apache-2.0 */
/* artifact.c - maps a .vlpc file and checks all of it.
**
** Order of the checks: long enough for a header, magic, byte order, version,
** length, hash of header and table, then rows, padding, section hashes.  The
** first that fails is reported, because later ones would only follow from it. */
#include "runtime/artifact.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char *const names[SECTION__END] = {
    [SECTION_manifest] = "manifest",     [SECTION_graph] = "graph",
    [SECTION_program] = "program",       [SECTION_kernels] = "kernels",
    [SECTION_weights] = "weights",       [SECTION_tokenizer] = "tokenizer",
    [SECTION_preprocess] = "preprocess", [SECTION_classes] = "classes",
    [SECTION_features] = "features",
    [SECTION_provenance] = "provenance", [SECTION_code] = "code",
    [SECTION_calibration] = "calibration", [SECTION_kept] = "kept",
};

static const SectionKind needed[] = {SECTION_manifest, SECTION_program, SECTION_kernels,
                                     SECTION_weights};

const char *section_name(uint32_t kind) {
  return kind > 0 && kind < SECTION__END ? names[kind] : "unknown";
}

static DiagAt at_file(const ArtifactFile *f) { return (DiagAt){f->file.path, NULL}; }

static const char *const fix_again = "make or copy the artifact again; the file was damaged";

static VlStatus damaged(const ArtifactFile *f, Diag *d, DiagCode code, const char *what) {
  VlStatus s = diag_error(d, code, at_file(f), "%s", what);
  diag_fix(d, "%s", fix_again);
  return s;
}

/* ---- header ------------------------------------------------------------- */

static VlStatus check_magic(const ArtifactFile *f, Diag *d) {
  size_t have = f->file.n < 8 ? (size_t)f->file.n : 8;
  if (have > 0 && memcmp(f->file.at, ARTIFACT_MAGIC, have) == 0) {
    if (f->file.n >= sizeof(ArtifactHeader)) return VLPC_OK;
    VlStatus s = damaged(f, d, DIAG_ARTIFACT_CUT, "the file ends inside its header");
    diag_found(d, "%" PRIu64 " bytes", f->file.n);
    diag_expected(d, "at least %zu bytes", sizeof(ArtifactHeader));
    return s;
  }
  VlStatus s = diag_error(d, DIAG_ARTIFACT_MAGIC, at_file(f), "not a vlpc artifact");
  char hex[3 * 8 + 1] = "";
  for (size_t i = 0; i < have; i++) snprintf(hex + 3 * i, 4, "%02x ", f->file.at[i]);
  diag_found(d, "%s", have ? hex : "an empty file");
  diag_expected(d, "56 4c 50 43 0d 0a 1a 0a at byte 0");
  diag_fix(d, "name a file that vlpc compile wrote; vlpc inspect says what a file is");
  return s;
}

static VlStatus check_version(const ArtifactFile *f, Diag *d) {
  const ArtifactHeader *h = &f->header;
  if (h->endian != ARTIFACT_ENDIAN) {
    VlStatus s = diag_error(d, DIAG_ARTIFACT_ENDIAN, at_file(f), "the byte order is not known");
    diag_found(d, "mark 0x%08" PRIx32, h->endian);
    diag_expected(d, "mark 0x%08" PRIx32 " (little-endian)", ARTIFACT_ENDIAN);
    diag_fix(d, "%s", fix_again);
    return s;
  }
  if (h->version >= ARTIFACT_VERSION_MIN && h->version <= ARTIFACT_VERSION) return VLPC_OK;
  bool newer = h->version > ARTIFACT_VERSION;
  VlStatus s = diag_error(d, DIAG_ARTIFACT_VERSION, at_file(f), "made by a vlpc that is too %s",
                          newer ? "new" : "old");
  diag_found(d, "container version %" PRIu32, h->version);
  diag_expected(d, "version %u to %u, which vlpc %d.%d.%d reads", ARTIFACT_VERSION_MIN,
                ARTIFACT_VERSION, VLPC_VERSION_MAJOR, VLPC_VERSION_MINOR, VLPC_VERSION_PATCH);
  diag_fix(d, newer ? "install a newer vlpc, or make the artifact again: "
                      "vlpc compile MODEL.onnx -o OUT.vlpc"
                    : "make the artifact again: vlpc compile MODEL.onnx -o OUT.vlpc");
  return s;
}

static XXH128_hash_t hash_head(const ArtifactFile *f) {
  XXH64_hash_t seed = XXH3_64bits(f->file.at, offsetof(ArtifactHeader, hash));
  return XXH3_128bits_withSeed(f->file.at + sizeof(ArtifactHeader),
                               f->header.n_sections * sizeof(ArtifactRow), seed);
}

static bool hash_is(XXH128_hash_t h, const uint8_t want[16]) {
  XXH128_canonical_t c;
  XXH128_canonicalFromHash(&c, h);
  return memcmp(c.digest, want, 16) == 0;
}

static VlStatus check_head(const ArtifactFile *f, Diag *d) {
  const ArtifactHeader *h = &f->header;
  if (h->file_bytes != f->file.n) {
    VlStatus s = damaged(f, d, DIAG_ARTIFACT_CUT,
                         f->file.n < h->file_bytes ? "the file is cut short"
                                                   : "the file is longer than its header says");
    diag_found(d, "%" PRIu64 " bytes", f->file.n);
    diag_expected(d, "%" PRIu64 " bytes", h->file_bytes);
    return s;
  }
  if (h->n_sections == 0 || h->n_sections > ARTIFACT_MAX_SECTIONS ||
      h->header_bytes != sizeof *h || h->table_offset != sizeof *h || h->flags != 0 ||
      f->file.n < ARTIFACT_ALIGN)
    return damaged(f, d, DIAG_ARTIFACT_LAYOUT, "the header has values that no vlpc writes");
  if (!hash_is(hash_head(f), h->hash))
    return damaged(f, d, DIAG_ARTIFACT_HASH, "the checksum of header and table does not match");
  return VLPC_OK;
}

/* ---- table -------------------------------------------------------------- */

/* Padding is always below a page. */
static bool all_zero(const uint8_t *p, uint64_t from, uint64_t to) {
  static const uint8_t zero[ARTIFACT_ALIGN];
  return memcmp(p + from, zero, (size_t)(to - from)) == 0;
}

static VlStatus bad_row(const ArtifactFile *f, Diag *d, DiagCode code, uint32_t i,
                        const char *what) {
  char place[64];
  snprintf(place, sizeof place, "section %" PRIu32 " (%s)", i, section_name(f->row[i].kind));
  VlStatus s = diag_error(d, code, (DiagAt){f->file.path, place}, "%s", what);
  diag_fix(d, "%s", fix_again);
  return s;
}

/* Rows are in the order of the file, so the end of one is where the next must
** begin; that leaves no room for overlaps and holes. */
static VlStatus check_row(const ArtifactFile *f, uint32_t i, uint64_t *end, Diag *d) {
  const ArtifactRow *r = &f->row[i];
  if (r->flags & ~ARTIFACT_REQUIRED || !all_zero(r->zero, 0, sizeof r->zero))
    return bad_row(f, d, DIAG_ARTIFACT_LAYOUT, i, "the row has values that no vlpc writes");
  if (r->kind == 0 || (i > 0 && r->kind <= f->row[i - 1].kind))
    return bad_row(f, d, DIAG_ARTIFACT_LAYOUT, i, "sections are not in ascending order");
  if (r->kind >= SECTION__END && (r->flags & ARTIFACT_REQUIRED)) {
    VlStatus s = bad_row(f, d, DIAG_ARTIFACT_SECTION, i, "a required section is not known");
    diag_found(d, "kind %" PRIu32, r->kind);
    diag_expected(d, "kinds 1 to %d", SECTION__END - 1);
    diag_fix(d, "install a newer vlpc, or make the artifact again with this one");
    return s;
  }
  if (r->offset != vl_align_up(*end, ARTIFACT_ALIGN) ||
      !vl_range_ok(r->offset, r->bytes, f->file.n))
    return bad_row(f, d, DIAG_ARTIFACT_LAYOUT, i, "the section does not lie where it must");
  if (!all_zero(f->file.at, *end, r->offset))
    return bad_row(f, d, DIAG_ARTIFACT_LAYOUT, i, "the padding before it is not zero");
  *end = r->offset + r->bytes;
  return VLPC_OK;
}

static VlStatus check_hash(const ArtifactFile *f, uint32_t i, Diag *d) {
  const ArtifactRow *r = &f->row[i];
  if (hash_is(XXH3_128bits(f->file.at + r->offset, (size_t)r->bytes), r->hash)) return VLPC_OK;
  return bad_row(f, d, DIAG_ARTIFACT_HASH, i, "the section's checksum does not match");
}

static VlStatus check_table(const ArtifactFile *f, Diag *d) {
  uint64_t end = sizeof(ArtifactHeader) + f->header.n_sections * sizeof(ArtifactRow);
  for (uint32_t i = 0; i < f->header.n_sections; i++) VL_TRY(check_row(f, i, &end, d));
  if (end != f->file.n)
    return damaged(f, d, DIAG_ARTIFACT_LAYOUT, "bytes follow the last section");
  for (uint32_t i = 0; i < f->header.n_sections; i++) {
    if (f->row[i].kind != SECTION_weights) VL_TRY(check_hash(f, i, d));
  }
  for (size_t i = 0; i < VL_COUNT(needed); i++) {
    if (artifact_section(f, needed[i]).at) continue;
    VlStatus s = damaged(f, d, DIAG_ARTIFACT_SECTION, "a section is missing");
    diag_expected(d, "a section \"%s\"", section_name(needed[i]));
    return s;
  }
  return VLPC_OK;
}

/* ---- outward ------------------------------------------------------------ */

VlStatus artifact_check(const Mapped *file, Diag *d, ArtifactFile *out) {
  *out = (ArtifactFile){.file = *file};
  VL_TRY(check_magic(out, d));
  memcpy(&out->header, file->at, sizeof out->header);
  VL_TRY(check_version(out, d));
  VL_TRY(check_head(out, d));
  memcpy(out->row, file->at + sizeof out->header,
         out->header.n_sections * sizeof out->row[0]);
  return check_table(out, d);
}

VlStatus artifact_map(const char *path, Diag *d, ArtifactFile *out) {
  Mapped file = {0};
  *out = (ArtifactFile){0};
  VL_TRY(io_map(path, d, &file));
  VlStatus s = artifact_check(&file, d, out);
  if (s != VLPC_OK) {
    io_unmap(&file);
    *out = (ArtifactFile){0};
  }
  return s;
}

void artifact_unmap(ArtifactFile *f) {
  io_unmap(&f->file);
  *f = (ArtifactFile){0};
}

Section artifact_section(const ArtifactFile *f, SectionKind kind) {
  for (uint32_t i = 0; i < f->header.n_sections; i++) {
    if (f->row[i].kind == kind) return (Section){f->file.at + f->row[i].offset, f->row[i].bytes};
  }
  return (Section){NULL, 0};
}

VlStatus artifact_check_weights(const ArtifactFile *f, Diag *d) {
  for (uint32_t i = 0; i < f->header.n_sections; i++) {
    if (f->row[i].kind == SECTION_weights) return check_hash(f, i, d);
  }
  return VLPC_OK;
}
