/* SPDX-License-Identifier: Apache-2.0 */
/* clip.c - OpenAI's CLIP as an ONNX graph.
**
**   image:  patch convolution, class embedding, positions, ln_pre, blocks,
**           ln_post of the class row, projection
**   text:   token embedding, positions, causal blocks, ln_final of the row of
**           the end token (the largest id), projection
**   block:  x + attention(ln_1 x); x + c_proj(QuickGELU(c_fc(ln_2 x)))
**
** Names of weights are those of the released checkpoints; linear weights are
** stored transposed, [in, out], as exporters store them.  Spreads follow CLIP's
** own initialisation; biases and norms are not zero and one, so that nothing
** folds away that would stay in a trained model. */
#include "models/models.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "models/onnx_write.h"

typedef struct {
  const char *name;
  int64_t patch, image, vw, vl, vh, tw, tl, th, vocab, context, embed;
} ClipSize;

static const ClipSize sizes[] = {
#define SIZE(name, patch, image, vw, vl, vh, tw, tl, th, vocab, context, embed)                    \
  {name, patch, image, vw, vl, vh, tw, tl, th, vocab, context, embed},
#include "models/clip_sizes.def"
};

typedef struct {
  Arena *arena;
  OnnxGraph *g;
  const ClipSize *s;
  int opset;
} Clip;

/* A transformer: its weights' prefix and sizes. */
typedef struct {
  const char *prefix; /* "visual.transformer.resblocks" */
  int64_t width, layers, heads, rows;
  bool causal;
} Tower;

/* --- weights --- */

/* Uniform with this standard deviation. */
static const char *matrix(Clip *c, const char *name, int64_t rows, int64_t cols, double sd) {
  OnnxWeight w = {.name = name,
                  .rank = 2,
                  .size = {rows, cols},
                  .fill = onnx_uniform,
                  .spread = sd * sqrt(3.0)};
  return onnx_weight(c->g, &w);
}

static const char *vector(Clip *c, const char *name, int64_t n, double center, double sd) {
  OnnxWeight w = {.name = name,
                  .rank = 1,
                  .size = {n},
                  .fill = onnx_uniform,
                  .center = center,
                  .spread = sd * sqrt(3.0)};
  return onnx_weight(c->g, &w);
}

static void fill_causal(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out) {
  uint64_t width = (uint64_t)w->size[1];
  for (uint64_t i = begin; i < begin + n; i++)
    out[i - begin] = i % width > i / width ? -INFINITY : 0.0f;
}

static const char *named(Clip *c, const char *prefix, const char *what) {
  return arena_printf(c->arena, "%s.%s", prefix, what);
}

/* --- small graphs --- */

#define OP1(op, a) onnx_op(c->g, op, a, NULL, NULL)
#define OP2(op, a, b) onnx_op(c->g, op, a, b, NULL)

static const char *mean(Clip *c, const char *x) {
  const char *y = OP1("ReduceMean", x);
  onnx_attr_ints(c->g, "axes", 1, (int64_t[]){-1});
  onnx_attr_int(c->g, "keepdims", 1);
  return y;
}

static const char *layer_norm(Clip *c, const char *x, const char *prefix, int64_t width) {
  const char *scale = vector(c, named(c, prefix, "weight"), width, 1.0, 0.05);
  const char *bias = vector(c, named(c, prefix, "bias"), width, 0.0, 0.02);
  if (c->opset >= 17) {
    const char *y = onnx_op(c->g, "LayerNormalization", x, scale, bias);
    onnx_attr_int(c->g, "axis", -1);
    onnx_attr_float(c->g, "epsilon", 1e-5f);
    return y;
  }
  const char *centred = OP2("Sub", x, mean(c, x));
  const char *variance = mean(c, OP2("Pow", centred, onnx_float(c->g, 2.0f)));
  const char *sd = OP1("Sqrt", OP2("Add", variance, onnx_float(c->g, 1e-5f)));
  return OP2("Add", OP2("Mul", OP2("Div", centred, sd), scale), bias);
}

/* x · w + b for w of [in, out] and prefix.weight, prefix.bias. */
static const char *linear(Clip *c, const char *x, const char *prefix, const int64_t size[2],
                          double sd) {
  const char *y = OP2("MatMul", x, matrix(c, named(c, prefix, "weight"), size[0], size[1], sd));
  return OP2("Add", y, vector(c, named(c, prefix, "bias"), size[1], 0.0, 0.02));
}

static const char *unit_rows(Clip *c, const char *x) {
  const char *sum = OP2("ReduceSum", OP2("Mul", x, x), onnx_ints(c->g, 1, (int64_t[]){-1}));
  onnx_attr_int(c->g, "keepdims", 1);
  return OP2("Div", x, OP1("Sqrt", sum));
}

/* --- a block --- */

static const char *attention(Clip *c, const Tower *t, const char *x, const char *prefix) {
  int64_t w = t->width, head = w / t->heads;
  double sd = 1 / sqrt((double)w), out_sd = sd / sqrt(2.0 * (double)t->layers);
  const char *qkv = OP2("MatMul", x, matrix(c, named(c, prefix, "in_proj_weight"), w, 3 * w, sd));
  qkv = OP2("Add", qkv, vector(c, named(c, prefix, "in_proj_bias"), 3 * w, 0.0, 0.02));
  qkv = onnx_reshape(c->g, qkv, 5, (int64_t[]){0, 0, 3, t->heads, head});
  qkv = onnx_transpose(c->g, qkv, 5, (int64_t[]){2, 0, 3, 1, 4});
  const char *q = onnx_gather(c->g, qkv, onnx_int(c->g, 0), 0);
  const char *k = onnx_gather(c->g, qkv, onnx_int(c->g, 1), 0);
  const char *v = onnx_gather(c->g, qkv, onnx_int(c->g, 2), 0);
  q = OP2("Mul", q, onnx_float(c->g, (float)(1 / sqrt((double)head))));
  const char *score = OP2("MatMul", q, onnx_transpose(c->g, k, 4, (int64_t[]){0, 1, 3, 2}));
  if (t->causal) {
    OnnxWeight mask = {
        .name = "causal_mask", .rank = 2, .size = {t->rows, t->rows}, .fill = fill_causal};
    score = OP2("Add", score, onnx_weight(c->g, &mask));
  }
  const char *p = OP1("Softmax", score);
  onnx_attr_int(c->g, "axis", -1);
  const char *y = onnx_transpose(c->g, OP2("MatMul", p, v), 4, (int64_t[]){0, 2, 1, 3});
  y = onnx_reshape(c->g, y, 3, (int64_t[]){0, 0, w});
  return linear(c, y, named(c, prefix, "out_proj"), (int64_t[]){w, w}, out_sd);
}

static const char *mlp(Clip *c, const Tower *t, const char *x, const char *prefix) {
  int64_t w = t->width;
  double sd = 1 / sqrt((double)w), out_sd = sd / sqrt(2.0 * (double)t->layers);
  const char *h = linear(c, x, named(c, prefix, "c_fc"), (int64_t[]){w, 4 * w}, sd / sqrt(2.0));
  h = OP2("Mul", h, OP1("Sigmoid", OP2("Mul", h, onnx_float(c->g, 1.702f))));
  return linear(c, h, named(c, prefix, "c_proj"), (int64_t[]){4 * w, w}, out_sd);
}

static const char *blocks(Clip *c, const Tower *t, const char *x) {
  for (int64_t i = 0; i < t->layers; i++) {
    const char *at = arena_printf(c->arena, "%s.%d", t->prefix, (int)i);
    onnx_scope(c->g, "/%s/attn", at);
    const char *h = layer_norm(c, x, named(c, at, "ln_1"), t->width);
    x = OP2("Add", x, attention(c, t, h, named(c, at, "attn")));
    onnx_scope(c->g, "/%s/mlp", at);
    h = layer_norm(c, x, named(c, at, "ln_2"), t->width);
    x = OP2("Add", x, mlp(c, t, h, named(c, at, "mlp")));
  }
  return x;
}

/* --- the towers --- */

/* Patch rows with the class row before them: [batch, rows, width]. */
static const char *image_rows(Clip *c, const char *pixels, int64_t rows) {
  const ClipSize *s = c->s;
  double sd = 1 / sqrt((double)s->vw);
  OnnxWeight conv = {.name = "visual.conv1.weight",
                     .rank = 4,
                     .size = {s->vw, 3, s->patch, s->patch},
                     .fill = onnx_uniform,
                     .spread = sqrt(3.0 / (double)(3 * s->patch * s->patch))};
  const char *x = OP2("Conv", pixels, onnx_weight(c->g, &conv));
  onnx_attr_ints(c->g, "kernel_shape", 2, (int64_t[]){s->patch, s->patch});
  onnx_attr_ints(c->g, "strides", 2, (int64_t[]){s->patch, s->patch});
  x = onnx_reshape(c->g, x, 3, (int64_t[]){0, s->vw, -1});
  x = onnx_transpose(c->g, x, 3, (int64_t[]){0, 2, 1});
  const char *batch = onnx_gather(c->g, OP1("Shape", x), onnx_ints(c->g, 1, (int64_t[]){0}), 0);
  const char *shape = OP2("Concat", batch, onnx_ints(c->g, 2, (int64_t[]){1, s->vw}));
  onnx_attr_int(c->g, "axis", 0);
  const char *cls = OP2("Expand", vector(c, "visual.class_embedding", s->vw, 0, sd), shape);
  x = OP2("Concat", cls, x);
  onnx_attr_int(c->g, "axis", 1);
  return OP2("Add", x, matrix(c, "visual.positional_embedding", rows, s->vw, sd));
}

static const char *image_tower(Clip *c, const char *pixels) {
  const ClipSize *s = c->s;
  int64_t side = s->image / s->patch, rows = side * side + 1;
  Tower t = {"visual.transformer.resblocks", s->vw, s->vl, s->vh, rows, false};
  onnx_scope(c->g, "/visual");
  const char *x = layer_norm(c, image_rows(c, pixels, rows), "visual.ln_pre", s->vw);
  x = blocks(c, &t, x);
  onnx_scope(c->g, "/visual");
  x = layer_norm(c, onnx_gather(c->g, x, onnx_int(c->g, 0), 1), "visual.ln_post", s->vw);
  double sd = 1 / sqrt((double)s->vw);
  return OP2("MatMul", x, matrix(c, "visual.proj", s->vw, s->embed, sd));
}

static const char *text_tower(Clip *c, const char *ids) {
  const ClipSize *s = c->s;
  Tower t = {"transformer.resblocks", s->tw, s->tl, s->th, s->context, true};
  onnx_scope(c->g, "/text");
  const char *table = matrix(c, "token_embedding.weight", s->vocab, s->tw, 0.02);
  const char *x = onnx_gather(c->g, table, ids, 0);
  x = OP2("Add", x, matrix(c, "positional_embedding", s->context, s->tw, 0.01));
  x = blocks(c, &t, x);
  onnx_scope(c->g, "/text");
  x = layer_norm(c, x, "ln_final", s->tw);
  const char *end = OP1("ArgMax", ids);
  onnx_attr_int(c->g, "axis", 1);
  onnx_attr_int(c->g, "keepdims", 1);
  x = OP2("GatherND", x, end);
  onnx_attr_int(c->g, "batch_dims", 1);
  double sd = 1 / sqrt((double)s->tw);
  return OP2("MatMul", x, matrix(c, "text_projection", s->tw, s->embed, sd));
}

/* --- files --- */

static OnnxPort image_port(const Clip *c, const char *name) {
  return (OnnxPort){name, VLPC_F32, 4, {-1, 3, c->s->image, c->s->image}, {"images"}};
}
static OnnxPort text_port(const Clip *c, const char *name) {
  return (OnnxPort){name, VLPC_I64, 2, {-1, c->s->context}, {"texts"}};
}

static void output(Clip *c, const char *name, const char *rows, int64_t width, const char *cols) {
  onnx_output(c->g, &(OnnxPort){name, VLPC_F32, 2, {-1, width}, {rows, cols}});
}

static void build_joint(Clip *c) {
  OnnxPort ids = text_port(c, "input_ids"), pixels = image_port(c, "pixel_values");
  onnx_input(c->g, &ids);
  onnx_input(c->g, &pixels);
  unit_rows(c, image_tower(c, pixels.name));
  const char *image = onnx_rename(c->g, "image_embeds");
  unit_rows(c, text_tower(c, ids.name));
  const char *text = onnx_rename(c->g, "text_embeds");
  onnx_scope(c->g, "%s", "");
  OnnxWeight scale = {.name = "logit_scale", .fill = onnx_fill, .center = log(100.0)};
  const char *cosine = OP2("MatMul", text, onnx_transpose(c->g, image, 2, (int64_t[]){1, 0}));
  OP2("Mul", cosine, OP1("Exp", onnx_weight(c->g, &scale)));
  const char *logits = onnx_rename(c->g, "logits_per_text");
  onnx_transpose(c->g, logits, 2, (int64_t[]){1, 0});
  onnx_rename(c->g, "logits_per_image");
  output(c, "logits_per_image", "images", -1, "texts");
  output(c, "logits_per_text", "texts", -1, "images");
  output(c, "text_embeds", "texts", c->s->embed, NULL);
  output(c, "image_embeds", "images", c->s->embed, NULL);
}

static void build_image(Clip *c) {
  OnnxPort in = image_port(c, "image");
  onnx_input(c->g, &in);
  image_tower(c, in.name);
  output(c, onnx_rename(c->g, "image_features"), "images", c->s->embed, NULL);
}

static void build_text(Clip *c) {
  OnnxPort in = text_port(c, "text");
  onnx_input(c->g, &in);
  text_tower(c, in.name);
  output(c, onnx_rename(c->g, "text_features"), "texts", c->s->embed, NULL);
}

/* --- options --- */

static VlStatus wrong(Diag *d, const char *what, const char *found, const char *expected) {
  VlStatus s = diag_error(d, DIAG_MODEL_OPTION, DIAG_NOWHERE, "no CLIP of this %s is made", what);
  diag_found(d, "%s", found);
  diag_expected(d, "%s", expected);
  return s;
}

static VlStatus find_size(const char *name, Diag *d, const ClipSize **out) {
  for (size_t i = 0; i < VL_COUNT(sizes); i++)
    if (name != NULL && strcmp(sizes[i].name, name) == 0) {
      *out = &sizes[i];
      return VLPC_OK;
    }
  return wrong(d, "size", name != NULL ? name : "none", "one of"
#define SIZE(name, ...) " " name
#include "models/clip_sizes.def"
  );
}

VlStatus models_clip_host(const char *size, Diag *d, PromptHost *out) {
  const ClipSize *s = NULL;
  VL_TRY(find_size(size, d, &s));
  *out = (PromptHost){.text_width = s->tw,
                      .vision_width = s->vw,
                      .embed = s->embed,
                      .text_layers = s->tl,
                      .vision_layers = s->vl,
                      .context = s->context};
  return VLPC_OK;
}

static VlStatus find_dtype(const char *name, Diag *d, VlDtype *out) {
  *out = name != NULL && strcmp(name, "fp16") == 0 ? VLPC_F16 : VLPC_F32;
  if (name == NULL || *out == VLPC_F16 || strcmp(name, "fp32") == 0) return VLPC_OK;
  return wrong(d, "element type", name, "fp32 or fp16");
}

/* Makes a folder and those above it; what cannot be made shows when a file is
** written there. */
static void make_folders(Arena *a, const char *path) {
  char *p = arena_strdup(a, path);
  for (char *end = p; *end != '\0'; end++) {
    if (*end != '/' || end == p) continue;
    *end = '\0';
    mkdir(p, 0777);
    *end = '/';
  }
  mkdir(p, 0777);
}

typedef struct {
  const char *name;
  void (*build)(Clip *c);
} ClipFile;

static VlStatus write_file(Arena *a, const ClipOptions *o, const ClipFile *f, Diag *d) {
  Clip c = {.arena = a, .opset = o->opset != 0 ? o->opset : MODELS_OPSET};
  OnnxOptions w = {.name = f->name, .opset = c.opset, .seed = o->seed};
  VL_TRY(find_size(o->size, d, &c.s));
  VL_TRY(find_dtype(o->dtype, d, &w.dtype));
  if (c.opset < MODELS_OPSET_MIN || c.opset > MODELS_OPSET_MAX)
    return wrong(d, "opset", arena_printf(a, "%d", c.opset),
                 arena_printf(a, "%d to %d", MODELS_OPSET_MIN, MODELS_OPSET_MAX));
  c.g = onnx_new(a, &w);
  f->build(&c);
  make_folders(a, o->directory);
  return onnx_write(c.g, arena_printf(a, "%s/%s.onnx", o->directory, f->name), d);
}

static VlStatus write_files(Arena *a, const ClipOptions *o, Diag *d) {
  static const ClipFile joint = {"model", build_joint}, image = {"image", build_image},
                        text = {"text", build_text};
  if (!o->two_files) return write_file(a, o, &joint, d);
  VL_TRY(write_file(a, o, &image, d));
  return write_file(a, o, &text, d);
}

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
}

VlStatus models_write_clip(const ClipOptions *o, Diag *d) {
  Arena *a = arena_new(0);
  if (a == NULL) return no_memory(d);
  if (ARENA_GUARD(a)) {
    arena_free(a);
    return no_memory(d);
  }
  VlStatus s = write_files(a, o, d);
  arena_free(a);
  return s;
}
