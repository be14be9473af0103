/* SPDX-License-Identifier: Apache-2.0 */
/* source.c - the towers as an artifact holds them, so that prompts can be linked in and
** gradients derived from the artifact alone.
**
** The section graph is the lowered graph without prompts, below a table of its
** constants (passes/constants.c), one a line:
**   ; weight %VALUE LAYOUT OFFSET BYTES   in the section weights, as kernels read it
**   ; kept %VALUE plain OFFSET BYTES      in the section kept: what the program has in
**                                         another form, or not at all
** Reading puts them in as const nodes; initializers behind them (blob#N) are not in the
** artifact.  What was rounded to bf16 cannot be had back: such a graph has no table. */
#include <inttypes.h>
#include <string.h>

#include "base/vec.h"
#include "compiler/compiler.h"

enum { LAYOUTS = 3, WORDS = 6 };
static const char *const layout_name[LAYOUTS] = {"plain", "panels", "padded"};

/* ---- writing ---------------------------------------------------------------- */

static uint64_t value_bytes(const Graph *g, Val v) {
  int64_t n = 0;
  VL_CHECK(ir_count_const(g, v, &n), "a constant has a run-time size");
  return (uint64_t)n * dtype_size(ir_type_of(g, v)->dtype);
}

/* The plan's constant that is v; NULL: the program has it in another form. */
static const SchedConst *planned(const Compile *c, Val v) {
  for (uint32_t i = 0; i < c->plan.n_consts; i++) {
    const SchedConst *k = &c->plan.consts[i];
    bool whole = (uint32_t)k->layout < LAYOUTS &&
                 c->plan.program.bufs[k->buf].dtype == ir_type_of(c->towers, v)->dtype;
    if (whole && pass_same_constant(c->towers, v, c->graph, k->v)) return k;
  }
  return NULL;
}

static void keep(Compile *c, Val v, Str *out) {
  SourceKept k = {v, vl_align_up(c->kept_bytes, 64), value_bytes(c->towers, v)};
  str_printf(out, "; kept %%%u plain %" PRIu64 " %" PRIu64 "\n", v.i, k.offset, k.bytes);
  *vec_push(c->a, &c->kept) = k;
  c->kept_bytes = k.offset + k.bytes;
}

void source_graph(Compile *c, Str *out) {
  Val *v = NULL;
  uint32_t n = c->bf16 ? 0 : pass_constants(c->towers, c->a, &v);
  for (uint32_t i = 0; i < n; i++) {
    const SchedConst *k = planned(c, v[i]);
    if (!k) {
      keep(c, v[i], out);
      continue;
    }
    const ProgBuf *b = &c->plan.program.bufs[k->buf];
    str_printf(out, "; weight %%%u %s %" PRIu64 " %" PRIu64 "\n", v[i].i, layout_name[k->layout],
               b->offset, b->bytes);
  }
  ir_print(c->towers, PRINT_LOCS, out);
}

VlStatus source_kept(const Compile *c, ArtifactWriter *w) {
  Compile towers = *c; /* values of the towers, not of the final graph */
  towers.graph = c->towers;
  if (c->kept.n == 0) return VLPC_OK;
  VL_TRY(artifact_writer_begin(w, SECTION_kept));
  for (uint32_t i = 0; i < c->kept.n; i++) {
    const SourceKept *k = &c->kept.at[i];
    VL_TRY(artifact_writer_pad(w, 64));
    VL_CHECK(artifact_writer_at(w) == k->offset, "a kept constant moved");
    VL_TRY(weights_write_value(&towers, k->v, k->bytes, w));
  }
  return artifact_writer_end(w);
}

/* ---- the text ----------------------------------------------------------------- */

/* Bytes of a type such as f16[77,192]; false when it has none of fixed size. */
static bool type_bytes(Arena *a, const char *at, const char *end, uint64_t *out) {
  const char *open = memchr(at, '[', (size_t)(end - at));
  VlDtype dtype;
  if (!open || !dtype_parse(at, (size_t)(open - at), &dtype)) return false;
  *out = dtype_size(dtype);
  for (const char *p = open + 1; p < end && *p != ']';) {
    size_t n = 0;
    while (p + n < end && p[n] != ',' && p[n] != ']') n++;
    int64_t size;
    if (!parse_i64(arena_strndup(a, p, n), &size) || size < 0) return false;
    if (!vl_mul_u64(*out, (uint64_t)size, out)) return false;
    p += n + (p + n < end && p[n] == ',');
  }
  return true;
}

enum { BLOBS_MOST = 1 << 20 };

/* The blobs of a graph's text with their sizes, but zeros for bytes: of at most
** `most` bytes, and all in one place.  n is one more than the highest number. */
static bool zero_blobs(Arena *a, const char *text, size_t n, uint64_t most, BlobTable *out) {
  static const char key[] = "{blob=blob#";
  uint64_t largest = 1;
  VEC(Blob) blob = {0};
  for (const char *line = text, *end; line < text + n; line = end + 1) {
    end = memchr(line, '\n', (size_t)(text + n - line));
    if (!end) break;
    const char *copy = arena_strndup(a, line, (size_t)(end - line)), *at = strstr(copy, key);
    const char *type = at ? strstr(at, "} : ") : NULL;
    uint64_t bytes;
    int64_t i;
    if (!type || !type_bytes(a, type + 4, copy + (end - line), &bytes)) continue;
    at += sizeof key - 1;
    if (!parse_i64(arena_strndup(a, at, (size_t)(type - at)), &i)) continue;
    if (i < 1 || i > BLOBS_MOST || bytes > most) return false;
    while (blob.n < i) *vec_push(a, &blob) = (Blob){NULL, 0, NULL};
    blob.at[i - 1].bytes = bytes;
    largest = VL_MAX(largest, bytes);
  }
  const uint8_t *zeros = arena_array_bytes(a, largest, 1); /* untouched: takes no memory */
  for (uint32_t i = 0; i < blob.n; i++) blob.at[i].data = zeros;
  *out = (BlobTable){blob.at, blob.n};
  return true;
}

static VlStatus damaged(const ArtifactFile *f, const char *what, Diag *d) {
  VlStatus s = diag_error(d, DIAG_ARTIFACT_LAYOUT, (DiagAt){f->file.path, "section graph"},
                          "%s", what);
  diag_fix(d, "compile the model again");
  return s;
}

static VlStatus lacks(const ArtifactFile *f, const char *what, Diag *d) {
  VlStatus s = diag_error(d, DIAG_SOURCE, (DiagAt){f->file.path, NULL}, "%s", what);
  diag_fix(d, "give the ONNX files that it was compiled from");
  return s;
}

VlStatus source_shapes(const ArtifactFile *f, Arena *a, Diag *d, Graph **out) {
  Section s = artifact_section(f, SECTION_graph);
  BlobTable blobs;
  if (s.bytes == 0) return lacks(f, "the artifact has no graph of its towers: it was packed", d);
  const char *text = arena_strndup(a, (const char *)s.at, (size_t)s.bytes);
  if (!zero_blobs(a, text, (size_t)s.bytes, 16 * f->header.file_bytes, &blobs))
    return damaged(f, "a constant is larger than the file can hold", d);
  *out = ir_parse(a, f->file.path, text, (size_t)s.bytes, blobs, d);
  return *out ? VLPC_OK : diag_status(d);
}

/* ---- constants ------------------------------------------------------------------ */

typedef struct {
  Section section;
  uint32_t v;
  uint32_t layout;
  uint64_t offset, bytes;
} Row;

static bool number(const char *word, uint64_t most, uint64_t *out) {
  int64_t x;
  if (!parse_i64(word, &x) || x < 0 || (uint64_t)x > most) return false;
  *out = (uint64_t)x;
  return true;
}

/* A line of the table; *is_row tells whether it is one. */
static bool read_row(const ArtifactFile *f, const Graph *g, const char *line, Arena *a, Row *r) {
  const char *word[WORDS] = {0};
  uint32_t n = 0;
  uint64_t v;
  for (const char *at = line; *at && n < WORDS; n++) {
    size_t len = strcspn(at, " ");
    word[n] = arena_strndup(a, at, len);
    at += len + (at[len] == ' ');
  }
  if (n != WORDS || word[2][0] != '%' || !number(word[2] + 1, ir_n_vals(g), &v) || v == 0)
    return false;
  bool kept = strcmp(word[1], "kept") == 0;
  if (!kept && strcmp(word[1], "weight") != 0) return false;
  r->section = artifact_section(f, kept ? SECTION_kept : SECTION_weights);
  r->v = (uint32_t)v;
  for (r->layout = 0; r->layout < LAYOUTS; r->layout++)
    if (strcmp(word[3], layout_name[r->layout]) == 0) break;
  return r->layout < LAYOUTS && number(word[4], r->section.bytes, &r->offset) &&
         number(word[5], r->section.bytes - r->offset, &r->bytes) && r->offset % 64 == 0;
}

static void unpack_panels(const float *from, int64_t k, int64_t n, float *to) {
  for (int64_t p = 0; p < n; p += GEMM_PANEL) {
    int64_t cols = VL_MIN(GEMM_PANEL, n - p);
    for (int64_t r = 0; r < k; r++, from += GEMM_PANEL)
      memcpy(to + r * n + p, from, (size_t)cols * sizeof *to);
  }
}

/* Bytes that a value takes in a layout. */
static bool layout_bytes(const Graph *g, Val v, uint32_t layout, uint64_t *out) {
  int64_t n = 0, cols = 0;
  uint64_t one = dtype_size(ir_type_of(g, v)->dtype), rows;
  if (!ir_count_const(g, v, &n)) return false;
  if (layout == CONST_PLAIN) return vl_mul_u64((uint64_t)n, one, out);
  bool is_matrix = layout == CONST_PANELS;
  if (ir_type_of(g, v)->dtype != VLPC_F32 || ir_type_of(g, v)->rank != (is_matrix ? 2 : 1) ||
      !ir_size_const(g, v, -1, &cols) || cols == 0)
    return false;
  rows = (uint64_t)(n / cols);
  return vl_mul_u64(vl_align_up((uint64_t)cols, GEMM_PANEL), one, out) &&
         vl_mul_u64(*out, rows, out);
}

/* The value's bytes, row-major: where they lie, or on the arena. */
static bool read_value(const ArtifactFile *f, const Graph *g, const Row *r, Arena *a, Blob **out) {
  Val v = {r->v};
  uint64_t need = 0;
  int64_t n = 0;
  const uint8_t *at = r->section.at + r->offset;
  if (!layout_bytes(g, v, r->layout, &need) || need != r->bytes) return false;
  *out = arena_one(a, Blob);
  (*out)->data = at;
  VL_CHECK(ir_count_const(g, v, &n), "layout_bytes saw it");
  (*out)->bytes = (uint64_t)n * dtype_size(ir_type_of(g, v)->dtype);
  if (r->layout != CONST_PANELS) return true;
  int64_t cols = 0;
  VL_CHECK(ir_size_const(g, v, -1, &cols), "layout_bytes saw it");
  float *to = arena_array(a, float, (uint64_t)n);
  unpack_panels((const float *)(const void *)at, n / cols, cols, to);
  io_forget(&f->file, (uint64_t)(at - f->file.at), r->bytes);
  (*out)->data = to;
  return true;
}

static VlStatus read_constants(const ArtifactFile *f, const Graph *g, Arena *a, Diag *d,
                               const Blob **with) {
  Section s = artifact_section(f, SECTION_graph);
  const char *at = (const char *)s.at, *stop = at + s.bytes;
  for (const char *end; at < stop && *at == ';'; at = end + 1) {
    Row r;
    Blob *b = NULL;
    end = memchr(at, '\n', (size_t)(stop - at));
    if (!end) end = stop;
    if (!read_row(f, g, arena_strndup(a, at, (size_t)(end - at)), a, &r) ||
        !read_value(f, g, &r, a, &b))
      return damaged(f, "a row of the table of constants is malformed", d);
    with[r.v] = b;
  }
  return VLPC_OK;
}

/* Every constant must have come, or zeros would be taken for weights. */
static VlStatus check_constants(const ArtifactFile *f, const Graph *g, Arena *a, Diag *d,
                                const Blob *const *with) {
  Val *v = NULL;
  uint32_t n = pass_constants(g, a, &v), have = 0;
  for (uint32_t i = 0; i < n; i++) have += with[v[i].i] != NULL;
  if (have == n) return VLPC_OK;
  if (have == 0) return lacks(f, "the artifact has rounded weights only (bf16)", d);
  return damaged(f, "the table of constants is not whole", d);
}

static VlStatus read_towers(Compile *c) {
  const ArtifactFile *f = &c->source;
  Graph *g = NULL;
  VL_TRY(artifact_check_weights(f, c->d));
  VL_TRY(source_shapes(f, c->a, c->d, &g));
  const Blob **with = arena_array(c->a, const Blob *, ir_n_vals(g) + 1);
  VL_TRY(read_constants(f, g, c->a, c->d, with));
  VL_TRY(check_constants(f, g, c->a, c->d, with));
  c->graph = pass_with_constants(g, c->a, with);
  return VLPC_OK;
}

/* ---- names ------------------------------------------------------------------------ */

static void add_aliases(Compile *c, AliasKind kind, const ManifestPort *p, uint32_t n) {
  PassResult *r = &c->lowered[0];
  for (uint32_t i = 0; i < n; i++) {
    for (const char *const *name = p[i].aliases; name && *name; name++) {
      PassAlias x = {kind, p[i].name, *name};
      bool known = false;
      for (uint32_t k = 0; k < r->n_alias; k++)
        known = known || (strcmp(r->alias[k].name, x.name) == 0 &&
                          strcmp(r->alias[k].file_name, x.file_name) == 0);
      if (!known) r->alias[r->n_alias++] = x;
    }
  }
}

static uint32_t count_aliases(const ManifestPort *p, uint32_t n) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < n; i++)
    for (const char *const *name = p[i].aliases; name && *name; name++) count++;
  return count;
}

/* What the model's files called its inputs and outputs, and the scale of its scores. */
static VlStatus read_names(Compile *c) {
  Section program = artifact_section(&c->source, SECTION_program);
  Section manifest = artifact_section(&c->source, SECTION_manifest);
  Program p;
  Manifest m;
  uint32_t most = 0;
  VL_TRY(program_read(program.at, (size_t)program.bytes,
                      artifact_section(&c->source, SECTION_weights).bytes, c->a,
                      (DiagAt){c->source.file.path, "section program"}, c->d, &p));
  VL_TRY(manifest_read(manifest.at, (size_t)manifest.bytes, &p, c->a, c->source.file.path, c->d,
                       &m));
  for (uint32_t i = 0; i < m.n_entries; i++)
    most += count_aliases(m.entries[i].in, m.entries[i].n_in) +
            count_aliases(m.entries[i].out, m.entries[i].n_out);
  c->logit_scale = m.logit_scale;
  c->lowered[0].alias = arena_array(c->a, PassAlias, most);
  for (uint32_t i = 0; i < m.n_entries; i++) {
    add_aliases(c, ALIAS_INPUT, m.entries[i].in, m.entries[i].n_in);
    add_aliases(c, ALIAS_OUTPUT, m.entries[i].out, m.entries[i].n_out);
  }
  return VLPC_OK;
}

/* ---- opening ------------------------------------------------------------------------ */

bool source_is_artifact(const char *path) {
  Diag *quiet = diag_new();
  Mapped m;
  bool is = false;
  if (!quiet) return false;
  if (io_map(path, quiet, &m) == VLPC_OK) {
    size_t n = sizeof ARTIFACT_MAGIC - 1;
    is = m.n >= n && memcmp(m.at, ARTIFACT_MAGIC, n) == 0;
    io_unmap(&m);
  }
  diag_free(quiet);
  return is;
}

VlStatus source_read(Compile *c) {
  if (c->n_models > 1) {
    VlStatus s = diag_error(c->d, DIAG_USAGE, (DiagAt){c->o->models[1], NULL},
                            "an artifact has both towers: it is compiled alone");
    return s;
  }
  VL_TRY(artifact_map(c->o->models[0], c->d, &c->source));
  c->has_source = true;
  VL_TRY(read_towers(c));
  return read_names(c);
}
