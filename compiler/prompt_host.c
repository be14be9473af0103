/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_host.c - the sizes of the model that a prompt module is for: of ONNX
** files, of an artifact, of a size that vlpc writes, or as given. */
#include <string.h>

#include "base/vec.h"
#include "compiler/compiler.h"

static bool is_layer(const char *name, char tower) {
  return name[0] == tower && name[1] == '.' && name[2] >= '0' && name[2] <= '9';
}

/* Rows of positions: of what is added to the embeddings, or of the table that it is
** a part of when a text may have any length. */
static int64_t positions(const Graph *g, Val v) {
  int64_t rows = 0;
  while (v.i && !ir_size_const(g, v, -2, &rows)) v = ir_n_in(g, v) > 0 ? ir_in(g, v, 0) : VAL_NONE;
  return rows;
}

int64_t compile_context(const Graph *g) {
  const Named *p = NULL;
  Val emb = VAL_NONE, first = VAL_NONE;
  uint32_t count = ir_points(g, &p);
  int64_t n = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (strcmp(p[i].name, "T.emb") == 0) emb = p[i].v;
    if (strcmp(p[i].name, "T.0") == 0) first = p[i].v;
  }
  if (!val_ok(emb) || !val_ok(first)) return 0;
  if (ir_size_const(g, emb, 1, &n) || ir_op(g, first) != OP_add) return n;
  return positions(g, ir_in(g, first, ir_in(g, first, 0).i == emb.i));
}

/* Layers and widths are read from the points that recognition names. */
static void host_of(const Graph *g, PromptHost *h) {
  const Named *p = NULL;
  uint32_t n = ir_points(g, &p);
  for (uint32_t i = 0; i < n; i++) {
    int64_t width = 0;
    if (!ir_size_const(g, p[i].v, -1, &width)) continue;
    if (strcmp(p[i].name, "V.feat") == 0 || strcmp(p[i].name, "T.feat") == 0) h->embed = width;
    if (is_layer(p[i].name, 'V')) h->vision_layers++, h->vision_width = width;
    if (is_layer(p[i].name, 'T')) h->text_layers++, h->text_width = width;
  }
  h->context = compile_context(g);
}

/* ---- an artifact ------------------------------------------------------------ */

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

enum { LOOKED_AT = 1 << 16, BLOBS_MOST = 1 << 20 };

/* The constants of a graph's text with their sizes but without their bytes, which
** the layouts of the weights hide: enough to read shapes.  A graph looks into
** small ones only. */
static BlobTable empty_blobs(Arena *a, const char *text, size_t n) {
  static const char key[] = "{blob=blob#";
  const uint8_t *nothing = arena_alloc(a, LOOKED_AT);
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
    if (i < 1 || i > BLOBS_MOST) continue;
    while (blob.n < i) *vec_push(a, &blob) = (Blob){nothing, 0, NULL};
    blob.at[i - 1].bytes = bytes;
  }
  return (BlobTable){blob.at, blob.n};
}

static VlStatus read_artifact(const char *path, Arena *a, Diag *d, PromptHost *h) {
  ArtifactFile f;
  VL_TRY(artifact_map(path, d, &f));
  Section s = artifact_section(&f, SECTION_graph);
  const char *text = arena_strndup(a, s.at ? (const char *)s.at : "", (size_t)s.bytes);
  artifact_unmap(&f);
  BlobTable blobs = empty_blobs(a, text, (size_t)s.bytes);
  const Graph *g = ir_parse(a, path, text, (size_t)s.bytes, blobs, d);
  if (!g) return diag_status(d);
  host_of(g, h);
  return VLPC_OK;
}

/* ---- the model -------------------------------------------------------------- */

static VlStatus read_onnx(const vlpc_prompt_options *o, Compile *k, PromptHost *h) {
  vlpc_compile_options *c = arena_one(k->a, vlpc_compile_options);
  *c = (vlpc_compile_options){.struct_size = sizeof *c, .models = {o->models[0], o->models[1]}};
  k->o = c;
  VL_TRY(compile_lower(k));
  host_of(k->graph, h);
  return VLPC_OK;
}

static VlStatus read_host(const vlpc_prompt_options *o, Compile *k, PromptHost *h) {
  Diag *d = k->d;
  size_t n = strlen(o->models[0]);
  bool artifact = n > 5 && strcmp(o->models[0] + n - 5, ".vlpc") == 0;
  VL_TRY(artifact ? read_artifact(o->models[0], k->a, d, h) : read_onnx(o, k, h));
  if (h->text_layers > 0 && h->vision_layers > 0 && h->context > 0) return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_PROMPT_HOST, (DiagAt){o->models[0], NULL},
                          "no two towers of CLIP were recognised in the model");
  diag_found(d, "%lld text and %lld image layers, texts of %lld tokens", (long long)h->text_layers,
             (long long)h->vision_layers, (long long)h->context);
  diag_fix(d, "give a file with both towers, an artifact of both, or the sizes themselves");
  return s;
}

VlStatus prompt_host(const vlpc_prompt_options *o, Compile *k, PromptHost *h) {
  if (o->models[0]) return read_host(o, k, h);
  if (o->size) return models_clip_host(o->size, k->d, h);
  *h = (PromptHost){o->text_width,  o->vision_width,  o->embed,
                    o->text_layers, o->vision_layers, o->context};
  return VLPC_OK;
}
