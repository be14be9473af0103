/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c - an artifact of the image tower, with prompts and classes folded in.
**
** in:     a session with its labels, and its prompts where it needs them
** method: the image entry's steps stay as they are, with the same kernels in the
**         same numbers; its inputs that are prompts become constants.  Constants
**         that no step reads, other entries and the tokenizer are left out, and the
**         labels' features become a section.
** Code is made of kernels alone, so sealed and cached code stays good, and results
** are the same bits. */
#include <string.h>

#include "runtime/easy_int.h"

/* Where the bytes of a constant of the new program are now. */
typedef struct {
  const void *at;
  uint64_t bytes, offset; /* offset in the new weights */
} Span;

typedef struct {
  vlpc_session *s;
  const Model *m;
  const ProgEntry *e;
  Bound *bound;
  Arena *a;
  const float *features;
  const void **value; /* by buffer: what an input becomes; NULL: it stays one */
  uint32_t *to;       /* by buffer: its new number + 1; 0: not used */
  Program p;          /* the new one */
  Span *span;
  uint32_t n_spans;
} Pack;

static VlStatus no_memory(vlpc_session *s) { return easy_no_memory(s, "the packed program"); }

/* ---- what becomes of inputs ---------------------------------------------- */

static VlStatus lacks_prompts(const Pack *k, const char *input) {
  VlStatus st = diag_error(k->s->diag, DIAG_PROMPTS_MISSING, (DiagAt){k->m->path, NULL},
                           "packing needs a prompt set");
  diag_found(k->s->diag, "no value for the input '%s' of entry '%s'", input, k->e->name);
  diag_fix(k->s->diag, "give the prompt set: --prompts FILE, or vlpc_session_set_prompts");
  return st;
}

static VlStatus open_size(const Pack *k, const char *input) {
  VlStatus st = diag_error(k->s->diag, DIAG_PACK, (DiagAt){k->m->path, NULL},
                           "its image tower takes '%s', whose size is not fixed", input);
  diag_fix(k->s->diag, "deploy the artifact as it is, with its prompt set");
  return st;
}

static VlStatus fold_inputs(Pack *k) {
  const Program *p = &k->m->program;
  prompts_apply(k->s, k->bound);
  for (uint32_t i = 0; i < k->e->n_in; i++) {
    const ProgPort *port = &p->ports[k->e->in + i];
    const ProgBuf *b = &p->bufs[port->buf];
    const InPort *in = &k->bound->in[i];
    if (strcmp(port->name, k->m->manifest.image.input) == 0) continue;
    if (!in->of_prompts || !in->set) return lacks_prompts(k, port->name);
    for (uint32_t x = 0; x < b->rank; x++) {
      int64_t n = 0;
      if (!dim_is_const(p->dims, b->size[x], &n) || n != in->value.shape[x])
        return open_size(k, port->name);
    }
    k->value[port->buf] = in->value.data;
  }
  return VLPC_OK;
}

/* ---- the program ---------------------------------------------------------- */

static void mark(Pack *k) {
  const Program *p = &k->m->program;
  const ProgEntry *e = k->e;
  for (uint32_t i = 0; i < e->n_in; i++)
    k->to[p->ports[e->in + i].buf] = k->value[p->ports[e->in + i].buf] == NULL;
  for (uint32_t i = 0; i < e->n_out; i++) k->to[p->ports[e->out + i].buf] = 1;
  for (uint32_t i = 0; i < e->n_steps; i++) {
    const ProgStep *s = &p->steps[e->step + i];
    for (uint32_t x = 0; x < s->n_args; x++) k->to[p->args[s->arg + x].buf] = 1;
  }
}

static uint64_t bytes_of(const Program *p, const ProgBuf *b) {
  uint64_t n = dtype_size(b->dtype);
  for (uint32_t i = 0; i < b->rank; i++) {
    int64_t size = 0;
    (void)dim_is_const(p->dims, b->size[i], &size); /* fold_inputs saw that they are fixed */
    n *= (uint64_t)size;
  }
  return n;
}

/* A constant's place in the new weights; bytes that are there already are shared. */
static void place(Pack *k, const void *at, ProgBuf *b) {
  uint64_t end = 0;
  for (uint32_t i = 0; i < k->n_spans; i++) {
    b->offset = k->span[i].offset;
    if (k->span[i].at == at && k->span[i].bytes == b->bytes) return;
    end = k->span[i].offset + k->span[i].bytes;
  }
  b->offset = vl_align_up(end, 64);
  k->span[k->n_spans++] = (Span){at, b->bytes, b->offset};
}

static void copy_bufs(Pack *k) {
  const Program *p = &k->m->program;
  const uint8_t *weights = artifact_section(&k->m->file, SECTION_weights).at;
  k->p.bufs = arena_array(k->a, ProgBuf, p->n_bufs);
  k->span = arena_array(k->a, Span, p->n_bufs);
  for (uint32_t i = 0; i < p->n_bufs; i++) {
    if (!k->to[i]) continue;
    ProgBuf b = p->bufs[i];
    if (b.kind == BUF_TEMP) b.first -= k->e->step, b.last -= k->e->step;
    if (k->value[i]) b.kind = BUF_CONST, b.bytes = bytes_of(p, &b);
    if (b.kind == BUF_CONST) place(k, k->value[i] ? k->value[i] : weights + b.offset, &b);
    k->p.bufs[k->p.n_bufs] = b;
    k->to[i] = ++k->p.n_bufs;
  }
}

static void copy_steps(Pack *k) {
  const Program *p = &k->m->program;
  Program *out = &k->p;
  out->steps = arena_array(k->a, ProgStep, k->e->n_steps);
  out->args = arena_array(k->a, ProgArg, p->n_args);
  out->sizes = arena_array(k->a, DimId, p->n_sizes);
  for (uint32_t i = 0; i < k->e->n_steps; i++) {
    const ProgStep *from = &p->steps[k->e->step + i];
    ProgStep *s = &out->steps[out->n_steps++];
    *s = *from;
    s->arg = out->n_args, s->size = out->n_sizes;
    for (uint32_t x = 0; x < from->n_args; x++) {
      ProgArg a = p->args[from->arg + x];
      a.buf = k->to[a.buf] - 1;
      out->args[out->n_args++] = a;
    }
    for (uint32_t x = 0; x < from->n_sizes; x++)
      out->sizes[out->n_sizes++] = p->sizes[from->size + x];
  }
}

static uint32_t copy_ports(Pack *k, uint32_t first, uint32_t n) {
  uint32_t before = k->p.n_ports;
  for (uint32_t i = first; i < first + n; i++) {
    const ProgPort *from = &k->m->program.ports[i];
    if (k->value[from->buf]) continue;
    k->p.ports[k->p.n_ports++] = (ProgPort){from->name, k->to[from->buf] - 1};
  }
  return k->p.n_ports - before;
}

static void make_program(Pack *k) {
  Program *out = &k->p;
  *out = (Program){.dims = k->m->program.dims, .n_kernels = k->m->program.n_kernels};
  mark(k);
  copy_bufs(k);
  copy_steps(k);
  out->ports = arena_array(k->a, ProgPort, k->e->n_in + k->e->n_out);
  out->entries = arena_array(k->a, ProgEntry, 1);
  out->entries[0] = (ProgEntry){.name = k->e->name, .n_steps = out->n_steps};
  out->entries[0].n_in = copy_ports(k, k->e->in, k->e->n_in);
  out->entries[0].out = out->n_ports;
  out->entries[0].n_out = copy_ports(k, k->e->out, k->e->n_out);
  out->n_entries = 1;
}

/* ---- the manifest ----------------------------------------------------------- */

static void write_manifest(Pack *k, Str *out) {
  Manifest m = k->m->manifest;
  ManifestEntry e = m.entries[k->e - k->m->program.entries];
  ManifestPort *in = arena_array(k->a, ManifestPort, e.n_in);
  uint32_t n = 0;
  for (uint32_t i = 0; i < e.n_in; i++)
    if (!k->value[k->m->program.ports[k->e->in + i].buf]) in[n++] = e.in[i];
  e.in = in, e.n_in = n;
  m.entries = &e, m.n_entries = 1;
  m.text = (ManifestRole){0}, m.prompts = (ManifestPrompts){0}, m.context_length = 0;
  m.points = arena_array(k->a, const char *, m.n_points);
  m.n_points = 0;
  for (uint32_t i = 0; i < k->m->manifest.n_points; i++)
    if (k->m->manifest.points[i][0] == 'V') m.points[m.n_points++] = k->m->manifest.points[i];
  manifest_write(&m, &k->p, out);
}

/* ---- the file --------------------------------------------------------------- */

static VlStatus write_weights(const Pack *k, ArtifactWriter *w) {
  VL_TRY(artifact_writer_begin(w, SECTION_weights));
  for (uint32_t i = 0; i < k->n_spans; i++) {
    VL_TRY(artifact_writer_pad(w, 64));
    VL_TRY(artifact_writer_add(w, k->span[i].at, (size_t)k->span[i].bytes));
  }
  return artifact_writer_end(w);
}

/* A section as it is in the file that is packed, when it is there. */
static VlStatus copy_section(const Pack *k, ArtifactWriter *w, SectionKind kind) {
  Section s = artifact_section(&k->m->file, kind);
  return s.at ? artifact_writer_section(w, kind, s.at, (size_t)s.bytes) : VLPC_OK;
}

static VlStatus class_lines(const Pack *k, Str *out) {
  const Labels *l = &k->s->labels;
  for (uint32_t i = 0; i < l->n; i++) {
    if (strchr(l->names[i], '\n')) {
      VlStatus st = diag_error(k->s->diag, DIAG_PACK, (DiagAt){k->m->path, NULL},
                               "the name of class %u has more than one line", i);
      diag_fix(k->s->diag, "give it a name of one line");
      return st;
    }
    str_printf(out, "%s\n", l->names[i]);
  }
  return VLPC_OK;
}

static VlStatus write_sections(Pack *k, ArtifactWriter *w) {
  const Labels *l = &k->s->labels;
  Str manifest = {.arena = k->a}, classes = {.arena = k->a};
  const uint8_t *program = NULL;
  size_t n = 0;
  VL_TRY(class_lines(k, &classes));
  write_manifest(k, &manifest);
  VL_TRY(artifact_writer_section(w, SECTION_manifest, str_text(&manifest), manifest.n));
  program_write(&k->p, k->a, &program, &n);
  VL_TRY(artifact_writer_section(w, SECTION_program, program, n));
  VL_TRY(copy_section(k, w, SECTION_kernels));
  VL_TRY(write_weights(k, w));
  VL_TRY(copy_section(k, w, SECTION_preprocess));
  VL_TRY(artifact_writer_section(w, SECTION_classes, str_text(&classes), classes.n));
  VL_TRY(copy_section(k, w, SECTION_provenance));
  VL_TRY(copy_section(k, w, SECTION_code));
  return artifact_writer_section(w, SECTION_features, k->features,
                                 (size_t)l->n * l->embed * sizeof(float));
}

static VlStatus write_file(Pack *k, const char *path) {
  ArtifactWriter *w = NULL;
  VL_TRY(artifact_writer_open(path, k->s->diag, &w));
  VlStatus st = write_sections(k, w);
  if (st == VLPC_OK) return artifact_writer_commit(w);
  artifact_writer_abandon(w);
  return st;
}

static VlStatus pack_on(Pack *k, const char *path) {
  if (ARENA_GUARD(k->a)) return no_memory(k->s);
  k->value = arena_array(k->a, const void *, k->m->program.n_bufs + 1u);
  k->to = arena_array(k->a, uint32_t, k->m->program.n_bufs + 1u);
  VL_TRY(fold_inputs(k));
  make_program(k);
  return write_file(k, path);
}

VlStatus session_pack(vlpc_session *s, const char *path) {
  const ManifestRole *role = &s->model->manifest.image;
  Pack k = {.s = s, .m = s->model};
  if (!role->entry)
    return easy_lacks(s, "image entry", "pack an artifact that has the image tower");
  VL_TRY(labels_features(s, &k.features));
  k.e = model_entry(s->model, role->entry, s->diag);
  k.bound = session_bound(s, role->entry);
  if (!k.e || !k.bound) return diag_status(s->diag);
  k.a = arena_new(0);
  if (!k.a) return no_memory(s);
  VlStatus st = pack_on(&k, path);
  arena_free(k.a);
  return st;
}
