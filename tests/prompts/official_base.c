/* SPDX-License-Identifier: Apache-2.0 */
/* official_base.c - see official_base.h. */
#include "tests/prompts/official_base.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

#include "base/io.h"
#include "base/map.h"
#include "onnx.pb-c.h"
#include "tests/e2e/e2e_kit.h"

#define SEED 20240607
#define ALL_HASH UINT64_C(0x64ff1a6b4059a535) /* hash_bytes over the weights, in the file's order */

__extension__ typedef unsigned __int128 U128;

/* ---- SeedSequence ------------------------------------------------------------- */

enum { POOL = 4 };

static uint32_t stir(uint32_t value, uint32_t *constant, uint32_t factor) {
  value ^= *constant;
  *constant *= factor;
  value *= *constant;
  return value ^ value >> 16;
}

static uint32_t mix(uint32_t x, uint32_t y) {
  uint32_t r = 0xca01f9dd * x - 0x4973f715 * y;
  return r ^ r >> 16;
}

static void seed_words(const uint32_t entropy[3], uint64_t out[4]) {
  uint32_t pool[POOL], constant = 0x43b0d7e5, word[8];
  for (int i = 0; i < POOL; i++) pool[i] = stir(i < 3 ? entropy[i] : 0, &constant, 0x931e8875);
  for (int from = 0; from < POOL; from++)
    for (int to = 0; to < POOL; to++)
      if (from != to) pool[to] = mix(pool[to], stir(pool[from], &constant, 0x931e8875));
  constant = 0x8b51f9dd;
  for (int i = 0; i < 8; i++) word[i] = stir(pool[i % POOL], &constant, 0x58f38ded);
  for (int i = 0; i < 4; i++) out[i] = (uint64_t)word[2 * i + 1] << 32 | word[2 * i];
}

/* ---- PCG64 ---------------------------------------------------------------------- */

typedef struct {
  U128 state, step;
} Pcg;

static void advance(Pcg *g) {
  const U128 factor = (U128)0x2360ed051fc65da4 << 64 | 0x4385df649fccf645;
  g->state = g->state * factor + g->step;
}

static Pcg pcg_of(const char *name) {
  uint32_t crc = (uint32_t)crc32(0, (const Bytef *)name, (uInt)strlen(name));
  uint64_t w[4];
  seed_words((uint32_t[]){SEED, (uint32_t)crc32(0, (const Bytef *)"base", 4), crc}, w);
  Pcg g = {0, ((U128)w[2] << 64 | w[3]) << 1 | 1};
  advance(&g);
  g.state += (U128)w[0] << 64 | w[1];
  advance(&g);
  return g;
}

static uint64_t bits(Pcg *g) {
  advance(g);
  uint64_t x = (uint64_t)(g->state >> 64) ^ (uint64_t)g->state;
  unsigned turn = (unsigned)(g->state >> 122);
  return x >> turn | x << (-turn & 63);
}

static double unit(Pcg *g) {
  return (double)(bits(g) >> 11) * 0x1p-53;
}

/* ---- the normal distribution ------------------------------------------------------ */

typedef struct {
  const int64_t *ki;
  const double *wi, *fi;
} Ziggurat;

/* Beyond the last strip. */
static double tail(Pcg *g, bool negative) {
  const double edge = 3.6541528853610087963519472518, inverse = 0.27366123732975827203338247596;
  for (;;) {
    double x = -inverse * log1p(-unit(g)), y = -log1p(-unit(g));
    if (y + y > x * x) return negative ? -(edge + x) : edge + x;
  }
}

static double normal(Pcg *g, const Ziggurat *z) {
  for (;;) {
    uint64_t r = bits(g);
    unsigned strip = r & 255;
    int64_t size = (int64_t)(r >> 9 & 0xfffffffffffff);
    double x = (double)size * z->wi[strip];
    if (r >> 8 & 1) x = -x;
    if (size < z->ki[strip]) return x;
    if (strip == 0) return tail(g, size >> 8 & 1);
    double low = z->fi[strip], high = z->fi[strip - 1];
    if ((high - low) * unit(g) + low < exp(-0.5 * x * x)) return x;
  }
}

/* ---- the weights -------------------------------------------------------------------- */

static bool ends(const char *name, const char *with) {
  size_t n = strlen(name), k = strlen(with);
  return n >= k && strcmp(name + n - k, with) == 0;
}

static bool is_norm(const char *name) {
  return strstr(name, ".ln_") != NULL || strncmp(name, "ln_", 3) == 0;
}

/* Of a weight of the released checkpoint, [rows, cols] as it is there. */
static double deviation(const char *name, double rows, double cols) {
  static const struct {
    const char *name;
    double sd;
  } fixed[] = {{"token_embedding.weight", 0.25},
               {"positional_embedding", 0.1},
               {"visual.class_embedding", 0.4},
               {"visual.positional_embedding", 0.4}};
  if (is_norm(name)) return 0.2;
  for (size_t i = 0; i < VL_COUNT(fixed); i++)
    if (strcmp(name, fixed[i].name) == 0) return fixed[i].sd;
  if (strcmp(name, "visual.proj") == 0 || strcmp(name, "text_projection") == 0)
    return pow(rows, -0.5);
  if (ends(name, "in_proj_weight")) return 1.3 * pow(cols, -0.5);
  return ends(name, "bias") ? 0.1 : pow(cols, -0.5);
}

/* Linear weights lie transposed in the file. */
static void draw(const Onnx__TensorProto *t, const Ziggurat *z, float *out) {
  const char *name = t->name;
  bool turned = t->n_dims == 2 && (strstr(name, ".attn.") != NULL || strstr(name, ".mlp.") != NULL);
  int64_t rows = t->n_dims == 1 ? 1 : t->dims[0], cols = 1;
  for (size_t i = t->n_dims == 1 ? 0 : 1; i < t->n_dims; i++) cols *= t->dims[i];
  if (turned) rows = t->dims[1], cols = t->dims[0];
  Pcg g = pcg_of(name);
  double sd = deviation(name, (double)rows, (double)cols);
  float shift = is_norm(name) && ends(name, "weight") ? 1 : 0;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t k = 0; k < cols; k++) {
      float x = (float)(normal(&g, z) * sd);
      out[turned ? k * rows + i : i * cols + k] = x + shift;
    }
}

static void fill(Onnx__GraphProto *g, const Ziggurat *z) {
  uint64_t hash = 0;
  for (size_t i = 0; i < g->n_initializer; i++) {
    Onnx__TensorProto *t = g->initializer[i];
    if (t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || t->raw_data.len <= sizeof(float))
      continue;
    if (strcmp(t->name, "causal_mask") == 0) continue;
    float *at = arena_alloc(e2e, t->raw_data.len);
    draw(t, z, at);
    memcpy(t->raw_data.data, at, t->raw_data.len);
    hash = hash_bytes(at, t->raw_data.len, hash);
  }
  if (hash != ALL_HASH) fail_msg("weights have the hash %#llx", (unsigned long long)hash);
}

static void set_scale(Onnx__GraphProto *g) {
  const float scale = (float)log(60.0);
  for (size_t i = 0; i < g->n_initializer; i++)
    if (strcmp(g->initializer[i]->name, "logit_scale") == 0)
      memcpy(g->initializer[i]->raw_data.data, &scale, sizeof scale);
}

static void change(const char *path, const Ziggurat *z) {
  uint8_t *bytes;
  size_t n;
  assert_int_equal(io_read(path, UINT32_MAX, e2e, NULL, &bytes, &n), VLPC_OK);
  Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, n, bytes);
  assert_non_null(m);
  set_scale(m->graph);
  fill(m->graph, z);
  assert_int_equal(onnx__model_proto__get_packed_size(m), n);
  onnx__model_proto__pack(m, bytes);
  onnx__model_proto__free_unpacked(m, NULL);
  assert_int_equal(io_write_file(path, bytes, n, NULL), VLPC_OK);
}

const char *official_base(const Npz *tables) {
  const Ziggurat z = {npz_find(tables, "ki")->data, npz_find(tables, "wi")->data,
                      npz_find(tables, "fi")->data};
  vlpc_model_options o = {.struct_size = sizeof o, .kind = "clip", .size = "official", .seed = 1,
                          .directory = e2e_file("official")};
  e2e_ok(vlpc_model_write(e2e_compiler, &o));
  const char *path = arena_printf(e2e, "%s/model.onnx", o.directory);
  change(path, &z);
  return path;
}
