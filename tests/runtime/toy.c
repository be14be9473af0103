/* SPDX-License-Identifier: Apache-2.0 */
/* toy.c - builds the toy artifact: program, manifest, weights. */
#include "tests/runtime/toy.h"

#include <dirent.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "runtime/code_store.h"
#include "runtime/compiler_lib.h"
#include "runtime/preprocess.h"
#include "runtime/tokenizer.h"

enum { MAX = 64 };

/* A program under construction. */
typedef struct {
  Arena *a;
  Program p;
} Toy;

static uint32_t add_buf(Toy *t, ProgBuf b) {
  t->p.bufs[t->p.n_bufs] = b;
  return t->p.n_bufs++;
}

static DimId sym(Toy *t, const char *name) {
  return dim_of_symbol(t->p.dims, dim_symbol(t->p.dims, name));
}
static DimId num(Toy *t, int64_t n) { return dim_const(t->p.dims, n); }

static void add_port(Toy *t, const char *name, uint32_t buf) {
  t->p.ports[t->p.n_ports++] = (ProgPort){name, buf};
}

typedef struct {
  uint32_t kernel, n_args, n_sizes;
  uint32_t buf[3];
  DimId size[3];
  DimId offset; /* of the last argument, in elements */
  const char *place;
} ToyStep;

static void add_step(Toy *t, ToyStep s) {
  Program *p = &t->p;
  p->steps[p->n_steps++] =
      (ProgStep){s.kernel, p->n_args, s.n_args, p->n_sizes, s.n_sizes, s.place};
  for (uint32_t i = 0; i < s.n_args; i++)
    p->args[p->n_args++] =
        (ProgArg){s.buf[i], i + 1 == s.n_args && s.offset ? s.offset : num(t, 0)};
  for (uint32_t i = 0; i < s.n_sizes; i++) p->sizes[p->n_sizes++] = s.size[i];
}

static void begin_entry(Toy *t, const char *name, uint32_t n_in, uint32_t n_out) {
  Program *p = &t->p;
  p->entries[p->n_entries] = (ProgEntry){.name = name, .in = p->n_ports, .n_in = n_in,
                                         .out = p->n_ports + n_in, .n_out = n_out,
                                         .step = p->n_steps};
}
static void end_entry(Toy *t) {
  ProgEntry *e = &t->p.entries[t->p.n_entries++];
  e->n_steps = t->p.n_steps - e->step;
}

static uint32_t add_vector(Toy *t, BufKind kind, VlDtype dtype, DimId n) {
  return add_buf(t, (ProgBuf){.kind = kind, .dtype = dtype, .rank = 1, .size = {n}});
}

/* ---- entries ------------------------------------------------------------ */

static void entry_sum(Toy *t, unsigned flags) {
  DimId rows = sym(t, "rows"), cols = sym(t, "cols");
  ProgBuf x = {.kind = BUF_INPUT, .dtype = VLPC_F32, .rank = 2, .size = {rows, cols}};
  uint32_t a = add_buf(t, x), b = add_buf(t, x);
  ProgBuf out = {.kind = BUF_OUTPUT, .dtype = VLPC_F32, .rank = 1, .size = {rows}};
  uint32_t total = add_buf(t, out);
  begin_entry(t, "sum", 2, 1);
  add_port(t, "a", a), add_port(t, "b", b), add_port(t, "total", total);
  /* rows × cols is not affine: two sums, then an addition of rows */
  uint32_t first = t->p.n_steps;
  ProgBuf temp = {.kind = BUF_TEMP, .dtype = VLPC_F32, .rank = 1, .size = {rows}};
  temp.first = first, temp.last = first + 2;
  uint32_t sa = add_buf(t, temp);
  temp.first = first + 1;
  uint32_t sb = add_buf(t, temp);
  add_step(t, (ToyStep){TOY_SUM, 2, 2, {sa, a}, {rows, cols}, 0, "node 1 'sum a'"});
  add_step(t, (ToyStep){TOY_SUM, 2, 2, {sb, b}, {rows, cols},
                        flags & TOY_LEAVES ? num(t, 1) : 0, "node 2 'sum b'"});
  add_step(t, (ToyStep){TOY_ADD, 3, 1, {total, sa, sb}, {rows}, 0, "node 3 'add'"});
  end_entry(t);
}

static void entry_pick(Toy *t) {
  DimId n = sym(t, "n");
  uint32_t ids = add_vector(t, BUF_INPUT, VLPC_I64, n);
  uint32_t out = add_vector(t, BUF_OUTPUT, VLPC_F32, n);
  uint32_t table = add_buf(t, (ProgBuf){.kind = BUF_CONST, .dtype = VLPC_F32, .rank = 1,
                                        .size = {num(t, 8)}, .offset = 64, .bytes = 32});
  begin_entry(t, "pick", 1, 1);
  add_port(t, "ids", ids), add_port(t, "picked", out);
  add_step(t, (ToyStep){TOY_GATHER, 3, 2, {out, table, ids}, {n, num(t, 8)}, 0,
                        "node 7 'pick' (Gather, opset 17)"});
  end_entry(t);
}

/* A tower's features [rows, 4] are those of `fold` plus the input `add` [4]. */
typedef struct {
  const char *entry, *in, *out, *add;
  uint32_t fold;
  DimId rows, cols;
  bool add_is_row; /* the input to add is [1, 4] */
  uint32_t n_more; /* further inputs and outputs: */
  struct {
    const char *in, *out;
    uint32_t kernel; /* TOY_SUM of f32 [n, 4], or TOY_GATHER of i64 [n] */
  } more[2];
} Tower;

/* Inputs in[k] to outputs out[k] of the size n. */
static void more_ports(Toy *t, const Tower *w, uint32_t in[2], uint32_t out[2]) {
  DimId n = sym(t, "texts");
  for (uint32_t k = 0; k < w->n_more; k++) {
    bool sum = w->more[k].kernel == TOY_SUM;
    in[k] = add_buf(t, (ProgBuf){.kind = BUF_INPUT, .dtype = sum ? VLPC_F32 : VLPC_I64,
                                 .rank = sum ? 2 : 1, .size = {n, num(t, 4)}});
    out[k] = add_vector(t, BUF_OUTPUT, VLPC_F32, n);
  }
}

static void more_steps(Toy *t, const Tower *w, const uint32_t in[2], const uint32_t out[2]) {
  DimId n = sym(t, "texts");
  for (uint32_t k = 0; k < w->n_more; k++) {
    if (w->more[k].kernel == TOY_SUM) {
      add_step(t, (ToyStep){TOY_SUM, 2, 2, {out[k], in[k]}, {n, num(t, 4)}, 0, "sums"});
      continue;
    }
    uint32_t table = add_buf(t, (ProgBuf){.kind = BUF_CONST, .dtype = VLPC_F32, .rank = 1,
                                          .size = {num(t, 8)}, .offset = 64, .bytes = 32});
    add_step(t, (ToyStep){TOY_GATHER, 3, 2, {out[k], table, in[k]}, {n, num(t, 8)}, 0, "lengths"});
  }
}

static void shifted_tower(Toy *t, const Tower *w, ProgBuf in) {
  DimId four = num(t, 4);
  ProgBuf row = {.kind = BUF_INPUT, .dtype = VLPC_F32, .rank = 2, .size = {num(t, 1), four}};
  uint32_t x = add_buf(t, in), more_in[2], more_out[2];
  uint32_t add = w->add_is_row ? add_buf(t, row) : add_vector(t, BUF_INPUT, VLPC_F32, four);
  ProgBuf y = {.dtype = VLPC_F32, .rank = 2, .size = {w->rows, four}};
  y.kind = BUF_OUTPUT;
  uint32_t out = add_buf(t, y);
  y.kind = BUF_TEMP, y.first = t->p.n_steps, y.last = t->p.n_steps + 1;
  uint32_t temp = add_buf(t, y);
  more_ports(t, w, more_in, more_out);
  begin_entry(t, w->entry, 2 + w->n_more, 1 + w->n_more);
  add_port(t, w->in, x), add_port(t, w->add, add);
  for (uint32_t k = 0; k < w->n_more; k++) add_port(t, w->more[k].in, more_in[k]);
  add_port(t, w->out, out);
  for (uint32_t k = 0; k < w->n_more; k++) add_port(t, w->more[k].out, more_out[k]);
  add_step(t, (ToyStep){w->fold, 2, 3, {temp, x}, {w->rows, w->cols, four}, 0, "fold"});
  add_step(t, (ToyStep){TOY_SHIFT, 3, 2, {out, temp, add}, {w->rows, four}, 0, "shift"});
  more_steps(t, w, more_in, more_out);
  end_entry(t);
}

static void entry_counts(Toy *t, const char *name, const char *out_name) {
  DimId n = sym(t, "texts"), k = num(t, 16), four = num(t, 4);
  uint32_t in = add_buf(t, (ProgBuf){.kind = BUF_INPUT, .dtype = VLPC_I64, .rank = 2,
                                     .size = {n, k}});
  uint32_t out = add_buf(t, (ProgBuf){.kind = BUF_OUTPUT, .dtype = VLPC_F32, .rank = 2,
                                      .size = {n, four}});
  begin_entry(t, name, 1, 1);
  add_port(t, "ids", in), add_port(t, out_name, out);
  add_step(t, (ToyStep){TOY_COUNT, 2, 3, {out, in}, {n, k, four}, 0, "count"});
  end_entry(t);
}

static void entries_prompted(Toy *t, unsigned flags) {
  DimId batch = sym(t, "batch"), n = sym(t, "texts"), eight = num(t, 8);
  bool classes = flags & TOY_CLASSES, follows = flags & TOY_FOLLOWS;
  Tower image = {"image", "pixels", "image_features", "bias", TOY_FOLD, batch, num(t, 192), false,
                 classes ? 2 : 0, {{"text_features", "class_sums", TOY_SUM},
                                   {"plain_features", "plain_sums", TOY_SUM}}};
  Tower text = {"text", "ids", "text_features", follows ? "image_features" : "rows", TOY_COUNT, n,
                num(t, 16), follows, classes ? 1 : 0, {{"name_lengths", "lengths", TOY_GATHER}}};
  shifted_tower(t, &image,
                (ProgBuf){.kind = BUF_INPUT, .dtype = VLPC_F32, .rank = 4,
                          .size = {batch, num(t, 3), eight, eight}});
  shifted_tower(t, &text,
                (ProgBuf){.kind = BUF_INPUT, .dtype = VLPC_I64, .rank = 2,
                          .size = {n, num(t, 16)}});
  if (classes) entry_counts(t, "plain", "plain_features");
}

static void entry_prompts(Toy *t) {
  DimId four = num(t, 4), eight = num(t, 8);
  uint32_t ctx = add_buf(t, (ProgBuf){.kind = BUF_INPUT, .dtype = VLPC_F32, .rank = 2,
                                      .size = {four, eight}});
  uint32_t rows = add_vector(t, BUF_OUTPUT, VLPC_F32, four);
  begin_entry(t, "prompts", 1, 1);
  add_port(t, "ctx", ctx), add_port(t, "rows", rows);
  add_step(t, (ToyStep){TOY_SUM, 2, 2, {rows, ctx}, {four, eight}, 0, "node 12 'rows'"});
  end_entry(t);
}

static void entry_image(Toy *t) {
  DimId batch = sym(t, "batch"), three = num(t, 3), eight = num(t, 8), four = num(t, 4);
  uint32_t in = add_buf(t, (ProgBuf){.kind = BUF_INPUT, .dtype = VLPC_F32, .rank = 4,
                                     .size = {batch, three, eight, eight}});
  uint32_t out = add_buf(t, (ProgBuf){.kind = BUF_OUTPUT, .dtype = VLPC_F32, .rank = 2,
                                      .size = {batch, four}});
  begin_entry(t, "image", 1, 1);
  add_port(t, "pixels", in), add_port(t, "image_features", out);
  add_step(t, (ToyStep){TOY_FOLD, 2, 3, {out, in}, {batch, num(t, 192), four}, 0, "fold"});
  end_entry(t);
}

static void entry_broken(Toy *t) {
  DimId n = dim_add(t->p.dims, dim_mul(t->p.dims, num(t, 2), sym(t, "half")), num(t, 1));
  uint32_t in = add_vector(t, BUF_INPUT, VLPC_F32, n);
  uint32_t out = add_vector(t, BUF_OUTPUT, VLPC_F32, n);
  begin_entry(t, "broken", 1, 1);
  add_port(t, "x", in), add_port(t, "y", out);
  add_step(t, (ToyStep){TOY_FAULT, 2, 0, {out, in}, {0}, 0, "node 9 'fault'"});
  end_entry(t);
}

static void make_program(Toy *t, unsigned flags) {
  t->p = (Program){.dims = dim_table_new(t->a), .n_kernels = TOY_KERNELS};
  t->p.bufs = arena_array(t->a, ProgBuf, MAX);
  t->p.args = arena_array(t->a, ProgArg, MAX);
  t->p.sizes = arena_array(t->a, DimId, MAX);
  t->p.steps = arena_array(t->a, ProgStep, MAX);
  t->p.ports = arena_array(t->a, ProgPort, MAX);
  t->p.entries = arena_array(t->a, ProgEntry, MAX);
  entry_sum(t, flags);
  entry_pick(t);
  if (flags & TOY_PROMPTS) {
    entries_prompted(t, flags);
  } else {
    entry_image(t);
    entry_counts(t, "text", "text_features");
  }
  entry_broken(t);
  if (flags & TOY_PROMPTS) entry_prompts(t);
}

/* ---- sections ----------------------------------------------------------- */

static const char *const pixel_aliases[] = {"pixel_values", "image", NULL};

static ManifestTrainable toy_trainable[] = {
    {.name = "ctx", .dtype = VLPC_F32, .rank = 2, .size = {4, 8},
     .init = {.kind = INIT_words, .text = "a photo of a", .first = 0}},
    {.name = "bias", .dtype = VLPC_F32, .rank = 1, .size = {4},
     .init = {.kind = INIT_normal, .value = 0.02}},
    {.name = "head", .dtype = VLPC_F32, .rank = 2, .size = {-1, 4}, .class_rows = true}};

static void write_manifest(Toy *t, unsigned flags, Str *out) {
  Manifest m = {.compiler = "0.1.0", .model = "toy", .precision = "fp32", .image_size = 8,
                .context_length = 16, .embed_dim = 4, .logit_scale = 10,
                .n_entries = t->p.n_entries, .n_points = 2,
                .points = (const char *[]){"T.emb", "V.feat"}};
  if (!(flags & TOY_NO_ROLES)) {
    m.image = (ManifestRole){.entry = "image", .input = "pixels", .output = "image_features"};
    m.text = (ManifestRole){.entry = "text", .input = "ids", .output = "text_features"};
  }
  if (flags & TOY_PROMPTS)
    m.prompts = (ManifestPrompts){.method = "toy", .base = TOY_BASE, .slot_rows = 4,
                                  .slot_place = "end", .slot_phrase = "a photo of a",
                                  .entry = "prompts", .n_trainables = VL_COUNT(toy_trainable),
                                  .trainable = toy_trainable};
  static const char *templates[] = {TOY_TEMPLATE_0, TOY_TEMPLATE_1};
  if (flags & TOY_TEMPLATES) m.prompts.templates = templates, m.prompts.n_templates = 2;
  m.entries = arena_array(t->a, ManifestEntry, m.n_entries);
  for (uint32_t i = 0; i < m.n_entries; i++) {
    const ProgEntry *e = &t->p.entries[i];
    m.entries[i] = (ManifestEntry){.name = e->name, .n_in = e->n_in, .n_out = e->n_out,
                                   .in = arena_array(t->a, ManifestPort, e->n_in),
                                   .out = arena_array(t->a, ManifestPort, e->n_out)};
    for (uint32_t k = 0; k < e->n_in; k++) m.entries[i].in[k].name = t->p.ports[e->in + k].name;
    for (uint32_t k = 0; k < e->n_out; k++) m.entries[i].out[k].name = t->p.ports[e->out + k].name;
    if (strcmp(e->name, "image") == 0) m.entries[i].in[0].aliases = pixel_aliases;
  }
  manifest_write(&m, &t->p, out);
}

static void write_tokenizer(Toy *t, ArtifactWriter *w) {
  char path[512];
  Tokenizer *tok;
  snprintf(path, sizeof path, "%s/models/small_clip", VLPC_SOURCE_DIR);
  assert_int_equal(tokenizer_load(path, NULL, &tok), VLPC_OK);
  size_t n = tokenizer_n_bytes(tok);
  uint8_t *bytes = arena_alloc(t->a, n);
  tokenizer_to_bytes(tok, bytes);
  tokenizer_free(tok);
  assert_int_equal(artifact_writer_section(w, SECTION_tokenizer, bytes, n), VLPC_OK);
}

static void write_code(Toy *t, ArtifactWriter *w, Section kernels, int levels) {
  CompilerLib lib;
  CompilerBytes code = {0};
  Str out = {.arena = t->a};
  for (int i = 0; i < levels; i++) {
    const char *target = arena_printf(t->a, "%s-%s", cpu_arch(), cpu_isa_name((CpuIsa)i));
    assert_int_equal(compiler_lib_open(toy_compiler(), NULL, &lib), VLPC_OK);
    EmitCall call = {.kernels = kernels.at, .n = (size_t)kernels.bytes, .target = target};
    assert_int_equal(lib.api->emit(&call, NULL, &code), VLPC_OK);
    code_seal(&out, kernels, target, (Section){code.at, code.n});
    lib.api->free_bytes(&code);
    compiler_lib_close(&lib);
  }
  assert_int_equal(artifact_writer_section(w, SECTION_code, out.at, out.n), VLPC_OK);
}

static void write_sections(Toy *t, ArtifactWriter *w, unsigned flags) {
  const char *kernels = flags & TOY_EMIT_FAILS ? "no!!" : "toy!";
  float weights[24] = {0};
  const uint8_t *program;
  size_t n;
  Str manifest = {.arena = t->a}, pre = {.arena = t->a};
  write_manifest(t, flags, &manifest);
  program_write(&t->p, t->a, &program, &n);
  Preprocess p = preprocess_clip(8);
  preprocess_to_text(&p, &pre);
  for (int i = 0; i < 8; i++) weights[16 + i] = 10.0f + (float)i;
  assert_int_equal(artifact_writer_section(w, SECTION_manifest, manifest.at, manifest.n), 0);
  assert_int_equal(artifact_writer_section(w, SECTION_program, program, n), 0);
  assert_int_equal(artifact_writer_section(w, SECTION_kernels, kernels, 4), 0);
  assert_int_equal(artifact_writer_section(w, SECTION_weights, weights, sizeof weights), 0);
  if (flags & TOY_TOKENIZER) write_tokenizer(t, w);
  assert_int_equal(artifact_writer_section(w, SECTION_preprocess, pre.at, pre.n), 0);
  assert_int_equal(artifact_writer_section(w, SECTION_classes, "cat\ndog\n", 8), 0);
  int levels = flags & TOY_SEALED_LOW ? 1 : ISA__COUNT;
  if (flags & TOY_SEALED) write_code(t, w, (Section){(const uint8_t *)kernels, 4}, levels);
}

void toy_write(const char *path, unsigned flags) {
  Toy t = {.a = arena_new(0)};
  ArtifactWriter *w;
  assert_int_equal(artifact_writer_open(path, NULL, &w), VLPC_OK);
  make_program(&t, flags);
  Str faults = {.arena = t.a};
  assert_true(program_verify(&t.p, &faults));
  write_sections(&t, w, flags);
  assert_int_equal(artifact_writer_commit(w), VLPC_OK);
  arena_free(t.a);
}

Program toy_program(Arena *a, unsigned flags) {
  Toy t = {.a = a};
  make_program(&t, flags);
  return t.p;
}

const char *toy_manifest(Arena *a, unsigned flags) {
  Toy t = {.a = a};
  Str s = {.arena = a};
  make_program(&t, flags);
  write_manifest(&t, flags, &s);
  return str_text(&s);
}

const char *toy_compiler(void) { return TOY_COMPILER; }

/* ---- folders ------------------------------------------------------------ */

void toy_folder(char out[256]) {
  snprintf(out, 256, "%s/toy-XXXXXX", TOY_FOLDER);
  assert_non_null(mkdtemp(out));
}

void toy_clean(const char *folder) {
  DIR *dir = opendir(folder);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    char path[600];
    struct stat st;
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) toy_clean(path);
    else unlink(path);
  }
  if (dir) closedir(dir);
  rmdir(folder);
}
