/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_host.c - the sizes of the model that a prompt module is for: of ONNX
** files, of an artifact, of a size that vlpc writes, or as given. */
#include <string.h>

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

/* ---- the model -------------------------------------------------------------- */

static VlStatus read_artifact(const char *path, Arena *a, Diag *d, PromptHost *h) {
  ArtifactFile f;
  VL_TRY(artifact_map(path, d, &f));
  Graph *g = NULL;
  VlStatus s = source_shapes(&f, a, d, &g);
  if (s == VLPC_OK) host_of(g, h);
  artifact_unmap(&f);
  return s;
}

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
  bool artifact = source_is_artifact(o->models[0]);
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
