/* SPDX-License-Identifier: Apache-2.0 */
/* sections.c - the artifact's texts: manifest, provenance; and sealed
** code. */
#include "compiler/compiler.h"

#include <string.h>

#include "backends/backend.h"
#include "base/cpu.h"
#include "base/map.h"
#include "base/vec.h"
#include "runtime/code_store.h"

/* ---- manifest ------------------------------------------------------------ */

/* The other names of an input or output, NULL-terminated. */
static const char *const *aliases(const Compile *c, const char *name) {
  VEC(const char *) list = {0};
  for (uint32_t m = 0; m < c->n_models; m++) {
    const PassResult *r = &c->lowered[m];
    for (uint32_t i = 0; i < r->n_alias; i++) {
      const PassAlias *al = &r->alias[i];
      if (al->kind != ALIAS_SIZE && strcmp(al->name, name) == 0 && strcmp(al->file_name, name) != 0)
        *vec_push(c->a, &list) = al->file_name;
    }
  }
  *vec_push(c->a, &list) = NULL;
  return list.at;
}

static ManifestPort *ports(const Compile *c, uint32_t first, uint32_t n) {
  ManifestPort *out = arena_array(c->a, ManifestPort, n);
  for (uint32_t i = 0; i < n; i++) {
    out[i].name = c->plan.program.ports[first + i].name;
    out[i].aliases = aliases(c, out[i].name);
  }
  return out;
}

static const ProgBuf *port_buf(const Program *p, uint32_t first, uint32_t n, const char *name) {
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(p->ports[first + i].name, name) == 0) return &p->bufs[p->ports[first + i].buf];
  }
  return NULL;
}

static int32_t buf_size(const Program *p, const ProgBuf *b, uint32_t axis) {
  int64_t size = 0;
  if (!b || axis >= b->rank || !dim_is_const(p->dims, b->size[axis], &size)) return 0;
  return size > 0 && size <= INT32_MAX ? (int32_t)size : 0;
}

static ManifestRole role(const Program *p, const char *entry, const char *input, const char *mask,
                         const char *output) {
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    if (strcmp(e->name, entry) != 0 || !port_buf(p, e->in, e->n_in, input) ||
        !port_buf(p, e->out, e->n_out, output))
      continue;
    bool masked = mask && port_buf(p, e->in, e->n_in, mask);
    return (ManifestRole){
        .entry = entry, .input = input, .mask = masked ? mask : NULL, .output = output};
  }
  return (ManifestRole){0};
}

static void tower_facts(const Program *p, Manifest *m) {
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    const ProgBuf *image = port_buf(p, e->in, e->n_in, "image");
    const ProgBuf *text = port_buf(p, e->in, e->n_in, "text");
    const ProgBuf *f = port_buf(p, e->out, e->n_out, "image_features");
    const ProgBuf *g = port_buf(p, e->out, e->n_out, "text_features");
    if (image && !m->image_size) m->image_size = buf_size(p, image, 3);
    if (text && !m->context_length) m->context_length = buf_size(p, text, 1);
    if ((f || g) && !m->embed_dim) m->embed_dim = buf_size(p, f ? f : g, 1);
  }
}

/* The entries that stand in for one. */
static void stand_ins(const Compile *c, ManifestEntry *of) {
  for (uint32_t i = c->n_entries - c->n_stand_ins; i < c->n_entries; i++) {
    const PassEntry *e = &c->entry[i];
    if (e->rows_of && strcmp(e->rows_of, of->name) == 0) of->rows = e->name;
    if (e->lean_of && strcmp(e->lean_of, of->name) == 0) of->lean = e->name;
    bool is_head = e->chunks == CHUNKS_head && strcmp(e->name, of->name) == 0;
    if (is_head) of->ahead = CHUNKS_AHEAD, of->back = CHUNKS_BACK;
  }
}

void manifest_section(const Compile *c, Str *out) {
  const Program *p = &c->plan.program;
  Manifest m = {.compiler = VLPC_VERSION_TEXT, .model = "clip"};
  m.precision = c->bf16 ? "bf16" : "fp32";
  m.image = role(p, "image", "image", NULL, "image_features");
  m.text = role(p, "text", "text", "attention_mask", "text_features");
  m.text.eot = c->eot;
  m.scores = role(p, SCORES_ENTRY, "image_features", NULL, "logits_per_image");
  tower_facts(p, &m);
  m.logit_scale = c->logit_scale;
  m.prompts = compile_manifest_prompts(c);
  m.n_entries = p->n_entries;
  m.entries = arena_array(c->a, ManifestEntry, p->n_entries);
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    m.entries[i] = (ManifestEntry){.name = e->name, .n_in = e->n_in, .n_out = e->n_out,
                                   .in = ports(c, e->in, e->n_in),
                                   .out = ports(c, e->out, e->n_out)};
    stand_ins(c, &m.entries[i]);
  }
  const Named *point = NULL;
  m.n_points = ir_points(c->graph, &point);
  m.points = arena_array(c->a, const char *, m.n_points);
  for (uint32_t i = 0; i < m.n_points; i++) m.points[i] = point[i].name;
  manifest_write(&m, p, out);
}

/* ---- provenance ---------------------------------------------------------- */

/* XXH3-64 of the XXH3-64 of each 16 MiB, so that a model of any size is hashed
** with few resident pages. */
static VlStatus hash_file(const Compile *c, const char *path, uint64_t *bytes, uint64_t *hash) {
  const uint64_t chunk = UINT64_C(16) << 20;
  Mapped m;
  VL_TRY(io_map(path, c->d, &m));
  *bytes = m.n;
  *hash = 0;
  for (uint64_t at = 0; at < m.n; at += chunk) {
    uint64_t n = VL_MIN(chunk, m.n - at);
    *hash = hash_bytes(m.at + at, n, *hash);
    io_forget(&m, at, n);
  }
  io_unmap(&m);
  return VLPC_OK;
}

VlStatus provenance_section(const Compile *c, Str *out) {
  str_add(out, "{\"sources\": [");
  for (uint32_t i = 0; i < c->n_models; i++) {
    const char *path = c->o->models[i], *slash = strrchr(path, '/');
    const char *producer = fe_producer(c->model[i]);
    uint64_t bytes = 0, hash = 0;
    VL_TRY(hash_file(c, path, &bytes, &hash));
    str_add(out, i ? ", {\"file\": " : "{\"file\": ");
    str_json(out, slash ? slash + 1 : path, strlen(slash ? slash + 1 : path));
    str_printf(out, ", \"bytes\": %llu, \"xxh3_16m\": \"%016llx\", \"producer\": ",
               (unsigned long long)bytes, (unsigned long long)hash);
    str_json(out, producer, strlen(producer));
    str_printf(out, ", \"opset\": %lld}", (long long)fe_opset(c->model[i]));
  }
  str_add(out, "]}\n");
  return VLPC_OK;
}

/* ---- sealed code --------------------------------------------------------- */

static VlStatus seal_one(const Compile *c, Section kernels, const char *target, Str *out) {
  const uint8_t *code = NULL;
  size_t n = 0;
  CodeTarget made_for = {.name = target};
  VL_TRY(backend_find("llvm_cpu")->emit(c->plan.kernels, &made_for, c->a, c->d, &code, &n));
  code_seal(out, kernels, target, (Section){code, n});
  return VLPC_OK;
}

/* Whether the list of --seal names a level; "all" leaves out those that f32
** code is never run at. */
static bool is_sealed(const Compile *c, CpuIsa isa) {
  const char *at = c->o->seal, *name = cpu_isa_name(isa);
  if (strcmp(at, "all") == 0) return isa < ISA_AVX512_BF16 || c->bf16;
  while (*at) {
    size_t n = strcspn(at, ",");
    if (n == strlen(name) && memcmp(at, name, n) == 0) return true;
    at += n + (at[n] == ',');
  }
  return false;
}

VlStatus seal_section(const Compile *c, ArtifactWriter *w) {
  const uint8_t *bytes = NULL;
  size_t n = 0;
  kernels_write(c->plan.kernels, c->a, &bytes, &n);
  Section kernels = {bytes, n};
  Str out = {.arena = c->a};
  for (int i = 0; i < ISA__COUNT; i++) {
    const char *level = cpu_isa_name((CpuIsa)i);
    if (is_sealed(c, (CpuIsa)i))
      VL_TRY(seal_one(c, kernels, arena_printf(c->a, "x86_64-%s", level), &out));
  }
  return artifact_writer_section(w, SECTION_code, str_text(&out), out.n);
}
