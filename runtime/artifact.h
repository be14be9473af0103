/* SPDX-License-Identifier: Apache-2.0 */
/* artifact.h - the .vlpc container: named sections in one file (docs/artifact.md).
**
**   0     ArtifactHeader (64 bytes)
**   64    ArtifactRow[n_sections], then zeros up to 4096
**   4096  the sections in the order of the table, each at the next multiple of
**         4096, zeros between them; the file ends with the last section
**
** All numbers are little-endian.  The header's hash is XXH3-128 of the table,
** seeded with XXH3-64 of the header's first 48 bytes; each row holds its
** section's XXH3-128.  So there is one form
** for given sections, and every byte of a file is covered by a check.
**
** Version rule: a reader of container version N opens N and N - 1.  A section
** kind that a reader does not know is an error when its row says required and
** skipped otherwise.
**
** The writer streams: sections of any size are hashed while they pass.  The
** reader maps the file and checks header, table, padding and every section's
** hash before it gives anything out; the weights' hash only when asked for,
** because that reads the whole file (about 0.1 s a GB). */
#ifndef VLPC_RUNTIME_ARTIFACT_H
#define VLPC_RUNTIME_ARTIFACT_H

#include "base/diag.h"
#include "base/io.h"
#include "base/str.h"

#define ARTIFACT_MAGIC "VLPC\r\n\x1a\n"
#define ARTIFACT_VERSION 1u
#define ARTIFACT_VERSION_MIN 1u /* ARTIFACT_VERSION - 1 once there was one */
#define ARTIFACT_ENDIAN 0x01020304u
#define ARTIFACT_ALIGN 4096u
#define ARTIFACT_MAX_SECTIONS 63u
#define ARTIFACT_REQUIRED 1u /* row flag: a reader must know the kind */

/* Kinds are part of the format: never renumbered. */
typedef enum {
  SECTION_manifest = 1,   /* JSON: manifest.h */
  SECTION_graph = 2,      /* IR of the towers without prompts as text */
  SECTION_program = 3,    /* program_write */
  SECTION_kernels = 4,    /* kernels_write; opaque to the runtime */
  SECTION_weights = 5,    /* constants, each at a multiple of 64 */
  SECTION_tokenizer = 6,  /* tokenizer's canonical bytes */
  SECTION_preprocess = 7, /* preprocess_to_text */
  SECTION_classes = 8,    /* class names, one a line */
  SECTION_provenance = 9, /* JSON: hashes of the sources */
  SECTION_code = 10,      /* sealed code: code_store.h */
  SECTION_calibration = 11, /* JSON: calibrate.h; readers may skip it */
  SECTION_features = 12,    /* f32 [classes, embed], unit length: text features of the classes */
  SECTION_kept = 13,        /* constants for compiling again: compiler/source.c; may be skipped */
  SECTION__END
} SectionKind;

typedef struct {
  uint8_t magic[8];
  uint32_t version, endian;
  uint64_t flags; /* none yet: 0 */
  uint64_t file_bytes;
  uint32_t n_sections, header_bytes; /* 64 */
  uint64_t table_offset;             /* 64 */
  uint8_t hash[16];
} ArtifactHeader;

typedef struct {
  uint32_t kind, flags;
  uint64_t offset, bytes;
  uint8_t hash[16]; /* XXH3-128, canonical (big-endian) form */
  uint8_t zero[24];
} ArtifactRow;

_Static_assert(sizeof(ArtifactHeader) == 64, "the header is 64 bytes");
_Static_assert(sizeof(ArtifactRow) == 64, "a row is 64 bytes");

const char *section_name(uint32_t kind); /* "manifest" …, "unknown" */

/* ---- artifact_write.c --------------------------------------------------- */

typedef struct ArtifactWriter ArtifactWriter;

/* The file appears under its name at artifact_writer_commit only. */
VL_MUST_USE VlStatus artifact_writer_open(const char *path, Diag *d, ArtifactWriter **out);
/* Starts the next section.  Kinds are unique and ascending. */
VL_MUST_USE VlStatus artifact_writer_begin(ArtifactWriter *w, SectionKind kind);
VL_MUST_USE VlStatus artifact_writer_add(ArtifactWriter *w, const void *p, size_t n);
/* Zeros up to a multiple of align (a power of two up to 4096), counted from the
** section's start. */
VL_MUST_USE VlStatus artifact_writer_pad(ArtifactWriter *w, uint64_t align);
uint64_t artifact_writer_at(const ArtifactWriter *w); /* bytes of the section so far */
VL_MUST_USE VlStatus artifact_writer_end(ArtifactWriter *w);
/* begin + add + end. */
VL_MUST_USE VlStatus artifact_writer_section(ArtifactWriter *w, SectionKind kind, const void *p,
                                             size_t n);
/* Writes header and table and makes the file visible.  Frees w, also on
** failure. */
VL_MUST_USE VlStatus artifact_writer_commit(ArtifactWriter *w);
void artifact_writer_abandon(ArtifactWriter *w); /* frees w; takes NULL */
/* Writes the artifact `from` to the file `to` with one more section, the last. */
VL_MUST_USE VlStatus artifact_append(const char *from, const char *to, SectionKind kind,
                                     const Str *bytes, Diag *d);

/* ---- artifact.c --------------------------------------------------------- */

typedef struct {
  const uint8_t *at; /* in the mapping; NULL when the file has no such section */
  uint64_t bytes;
} Section;

typedef struct {
  Mapped file;
  ArtifactHeader header;
  ArtifactRow row[ARTIFACT_MAX_SECTIONS];
} ArtifactFile;

/* Maps and checks a file; on failure nothing stays mapped.  manifest, program,
** kernels and weights are present.  path is borrowed. */
VL_MUST_USE VlStatus artifact_map(const char *path, Diag *d, ArtifactFile *out);
/* The same checks on bytes in memory (a file image). */
VL_MUST_USE VlStatus artifact_check(const Mapped *file, Diag *d, ArtifactFile *out);
void artifact_unmap(ArtifactFile *f);
Section artifact_section(const ArtifactFile *f, SectionKind kind);
VL_MUST_USE VlStatus artifact_check_weights(const ArtifactFile *f, Diag *d);

#endif
