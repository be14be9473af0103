/* SPDX-License-Identifier: Apache-2.0 */
/* pack.c - an artifact with prompts and classes folded in.
**
** in:     a session with its labels, and its prompts where it needs them
** method: the steps of the image entry, and of those for texts or scores that answers
**         still need, stay as they are, with the same kernels in the same numbers;
**         inputs that are prompts or results of the labels' texts become constants, and
**         symbols that only these decide become numbers.  Constants that no step reads
**         and other entries are left out; the labels' features become a section, or where
**         texts follow the image, the text entry and the tokenizer stay.
** Code is made of kernels alone, so sealed and cached code stays good, and results
** are the same bits. */
#include <string.h>

#include "runtime/easy_int.h"

enum { PARTS_MOST = 4 };

/* Where the bytes of a constant of the new program are now. */
typedef struct {
  const void *at;
  uint64_t bytes, offset; /* offset in the new weights */
} Span;

/* An entry that is kept. */
typedef struct {
  const ProgEntry *e;
  Bound *bound;
  uint32_t step; /* its first in the new program */
} Part;

typedef struct {
  vlpc_session *s;
  const Model *m;
  Part part[PARTS_MOST];
  uint32_t n_parts;
  bool keeps_texts;
  Arena *a;
  const float *features; /* NULL where texts are kept */
  const void **value; /* by buffer: what an input becomes; NULL: it stays one */
  uint32_t *to;       /* by buffer: its new number + 1; 0: not used */
  int64_t size[DIM_MAX_SYMS]; /* of symbols that become numbers; -1: they stay */
  DimId *dim;         /* by old size: the new one */
  Program p;          /* the new one */
  Span *span;
  uint32_t n_spans;
} Pack;

static VlStatus no_memory(vlpc_session *s) { return easy_no_memory(s, "the packed program"); }

static VlStatus cannot(const Pack *k, const char *what, const char *fix) {
  VlStatus st = diag_error(k->s->diag, DIAG_PACK, (DiagAt){k->m->path, NULL}, "%s", what);
  diag_fix(k->s->diag, "%s", fix);
  return st;
}

/* ---- what becomes of inputs ---------------------------------------------- */

static VlStatus lacks_prompts(const Pack *k, const Part *part, const char *input) {
  VlStatus st = diag_error(k->s->diag, DIAG_PROMPTS_MISSING, (DiagAt){k->m->path, NULL},
                           "packing needs a prompt set");
  diag_found(k->s->diag, "no value for the input '%s' of entry '%s'", input, part->e->name);
  diag_fix(k->s->diag, "give the prompt set: --prompts FILE, or vlpc_session_set_prompts");
  return st;
}

/* An axis of a value that is folded in: a number, or a symbol that becomes one. */
static bool fold_axis(Pack *k, DimId size, int64_t n) {
  int64_t fixed = 0;
  if (dim_is_const(k->m->program.dims, size, &fixed)) return fixed == n;
  Dim d = dim_get(k->m->program.dims, size);
  if (d.n != 1 || d.c != 0 || d.term[0].k != 1) return false;
  int64_t *at = &k->size[d.term[0].sym];
  if (*at < 0) *at = n;
  return *at == n;
}

/* Not what a caller gives: prompts, and what photos take of the labels' texts. */
static bool is_folded(const Pack *k, const Part *part, const char *input) {
  bool of_photos = part == k->part && strcmp(input, k->m->manifest.image.input) != 0;
  return of_photos || prompts_port(k->m, input);
}

static VlStatus fold_inputs(Pack *k, const Part *part) {
  const Program *p = &k->m->program;
  VL_TRY(prompts_ready(k->s, part->bound));
  prompts_apply(k->s, part->bound);
  for (uint32_t i = 0; i < part->e->n_in; i++) {
    const ProgPort *port = &p->ports[part->e->in + i];
    const ProgBuf *b = &p->bufs[port->buf];
    const InPort *in = &part->bound->in[i];
    if (!is_folded(k, part, port->name)) continue;
    if (!in->of_prompts || !in->set) return lacks_prompts(k, part, port->name);
    for (uint32_t x = 0; x < b->rank; x++)
      if (!fold_axis(k, b->size[x], in->value.shape[x]))
        return cannot(k, "an input that is folded in has a size that does not fit the others",
                      "classify with the artifact and this prompt set as they are");
    k->value[port->buf] = in->value.data;
  }
  return VLPC_OK;
}

/* ---- sizes ----------------------------------------------------------------- */

static DimId new_size(const Pack *k, DimId size) {
  Dim from = dim_get(k->m->program.dims, size), to = {.c = from.c};
  for (uint32_t i = 0; i < from.n; i++) {
    int64_t n = k->size[from.term[i].sym], more = 0;
    if (n < 0) to.term[to.n++] = from.term[i];
    else if (!vl_mul_i64(from.term[i].k, n, &more) || !vl_add_i64(to.c, more, &to.c))
      return DIM_NONE;
  }
  return dim_intern(k->p.dims, &to);
}

static VlStatus make_sizes(Pack *k) {
  const DimTable *from = k->m->program.dims;
  k->p.dims = dim_table_new(k->a);
  k->dim = arena_array(k->a, DimId, dim_count(from) + 1u);
  for (SymId i = 0; i < dim_n_symbols(from); i++)
    (void)dim_symbol(k->p.dims, dim_symbol_name(from, i)); /* the same numbers */
  for (DimId i = 1; i <= dim_count(from); i++) {
    k->dim[i] = new_size(k, i);
    if (k->dim[i] == DIM_NONE) return no_memory(k->s);
  }
  return VLPC_OK;
}

/* ---- the program ---------------------------------------------------------- */

static void mark(Pack *k, const ProgEntry *e) {
  const Program *p = &k->m->program;
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
    (void)dim_is_const(p->dims, b->size[i], &size); /* fold_inputs saw to that */
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

/* A step's number in the new program. */
static uint32_t new_step(const Pack *k, uint32_t step) {
  for (uint32_t i = 0; i < k->n_parts; i++) {
    const ProgEntry *e = k->part[i].e;
    if (step >= e->step && step - e->step < e->n_steps) return step - e->step + k->part[i].step;
  }
  return 0; /* program_verify: a temporary's steps are of the entry that uses it */
}

static void copy_bufs(Pack *k) {
  const Program *p = &k->m->program;
  const uint8_t *weights = artifact_section(&k->m->file, SECTION_weights).at;
  k->p.bufs = arena_array(k->a, ProgBuf, p->n_bufs);
  k->span = arena_array(k->a, Span, p->n_bufs);
  for (uint32_t i = 0; i < p->n_bufs; i++) {
    if (!k->to[i]) continue;
    ProgBuf b = p->bufs[i];
    for (uint32_t x = 0; x < b.rank; x++) b.size[x] = k->dim[b.size[x]];
    if (b.kind == BUF_TEMP) b.first = new_step(k, b.first), b.last = new_step(k, b.last);
    if (k->value[i]) b.kind = BUF_CONST, b.bytes = bytes_of(&k->p, &b);
    if (b.kind == BUF_CONST) place(k, k->value[i] ? k->value[i] : weights + b.offset, &b);
    k->p.bufs[k->p.n_bufs] = b;
    k->to[i] = ++k->p.n_bufs;
  }
}

static void copy_steps(Pack *k, const ProgEntry *e) {
  const Program *p = &k->m->program;
  Program *out = &k->p;
  for (uint32_t i = 0; i < e->n_steps; i++) {
    const ProgStep *from = &p->steps[e->step + i];
    ProgStep *s = &out->steps[out->n_steps++];
    *s = *from;
    s->arg = out->n_args, s->size = out->n_sizes;
    for (uint32_t x = 0; x < from->n_args; x++) {
      ProgArg a = p->args[from->arg + x];
      out->args[out->n_args++] = (ProgArg){k->to[a.buf] - 1, k->dim[a.offset]};
    }
    for (uint32_t x = 0; x < from->n_sizes; x++)
      out->sizes[out->n_sizes++] = k->dim[p->sizes[from->size + x]];
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

static void copy_entry(Pack *k, const Part *part) {
  const ProgEntry *e = part->e;
  ProgEntry *to = &k->p.entries[k->p.n_entries++];
  *to = (ProgEntry){.name = e->name, .step = part->step, .n_steps = e->n_steps};
  copy_steps(k, e);
  to->in = k->p.n_ports;
  to->n_in = copy_ports(k, e->in, e->n_in);
  to->out = k->p.n_ports;
  to->n_out = copy_ports(k, e->out, e->n_out);
}

static void make_program(Pack *k) {
  const Program *p = &k->m->program;
  Program *out = &k->p;
  uint32_t steps = 0;
  out->n_kernels = p->n_kernels;
  for (uint32_t i = 0; i < k->n_parts; i++) {
    k->part[i].step = steps;
    steps += k->part[i].e->n_steps;
    mark(k, k->part[i].e);
  }
  copy_bufs(k);
  out->steps = arena_array(k->a, ProgStep, steps);
  out->args = arena_array(k->a, ProgArg, p->n_args);
  out->sizes = arena_array(k->a, DimId, p->n_sizes);
  out->ports = arena_array(k->a, ProgPort, p->n_ports);
  out->entries = arena_array(k->a, ProgEntry, k->n_parts);
  for (uint32_t i = 0; i < k->n_parts; i++) copy_entry(k, &k->part[i]);
}

/* ---- the manifest ----------------------------------------------------------- */

static ManifestEntry kept_entry(const Pack *k, const ProgEntry *e) {
  ManifestEntry x = k->m->manifest.entries[e - k->m->program.entries];
  ManifestPort *in = arena_array(k->a, ManifestPort, x.n_in);
  uint32_t n = 0;
  for (uint32_t i = 0; i < x.n_in; i++)
    if (!k->value[k->m->program.ports[e->in + i].buf]) in[n++] = x.in[i];
  x.in = in, x.n_in = n;
  x.lean = NULL; /* for training */
  return x;
}

/* What says how texts are made: the labels' template, and the slot. */
static VlStatus keep_texts(const Pack *k, Manifest *m) {
  const char *own = labels_pattern(k->s);
  m->prompts.entry = NULL, m->prompts.n_trainables = m->prompts.n_layout = 0;
  if (!own) return VLPC_OK;
  if (strlen(own) > MANIFEST_MAX_SLOT)
    return cannot(k, "its template has more than 1024 bytes", "give a shorter one");
  m->prompts.templates = arena_array(k->a, const char *, 1);
  m->prompts.templates[0] = own, m->prompts.n_templates = 1;
  return VLPC_OK;
}

static bool keeps_point(const Pack *k, const char *point) {
  return point[0] == 'V' || (point[0] == 'T' && k->keeps_texts);
}

static VlStatus write_manifest(Pack *k, Str *out) {
  Manifest m = k->m->manifest;
  m.entries = arena_array(k->a, ManifestEntry, k->n_parts);
  for (m.n_entries = 0; m.n_entries < k->n_parts; m.n_entries++)
    m.entries[m.n_entries] = kept_entry(k, k->part[m.n_entries].e);
  if (k->keeps_texts) VL_TRY(keep_texts(k, &m));
  else m.text = (ManifestRole){0}, m.prompts = (ManifestPrompts){0}, m.context_length = 0;
  m.points = arena_array(k->a, const char *, m.n_points);
  m.n_points = 0;
  for (uint32_t i = 0; i < k->m->manifest.n_points; i++)
    if (keeps_point(k, k->m->manifest.points[i]))
      m.points[m.n_points++] = k->m->manifest.points[i];
  manifest_write(&m, &k->p, out);
  return VLPC_OK;
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
    if (strchr(l->names[i], '\n'))
      return cannot(k, arena_printf(k->a, "the name of class %u has more than one line", i),
                    "give it a name of one line");
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
  VL_TRY(write_manifest(k, &manifest));
  VL_TRY(artifact_writer_section(w, SECTION_manifest, str_text(&manifest), manifest.n));
  program_write(&k->p, k->a, &program, &n);
  VL_TRY(artifact_writer_section(w, SECTION_program, program, n));
  VL_TRY(copy_section(k, w, SECTION_kernels));
  VL_TRY(write_weights(k, w));
  if (k->keeps_texts) VL_TRY(copy_section(k, w, SECTION_tokenizer));
  VL_TRY(copy_section(k, w, SECTION_preprocess));
  VL_TRY(artifact_writer_section(w, SECTION_classes, str_text(&classes), classes.n));
  VL_TRY(copy_section(k, w, SECTION_provenance));
  VL_TRY(copy_section(k, w, SECTION_code));
  VL_TRY(copy_section(k, w, SECTION_calibration));
  if (!k->features) return VLPC_OK;
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

static VlStatus add_part(Pack *k, const char *entry) {
  Part *part = &k->part[k->n_parts];
  if (!entry) return VLPC_OK;
  part->e = model_entry(k->m, entry, k->s->diag);
  part->bound = session_bound(k->s, entry);
  if (!part->e || !part->bound) return diag_status(k->s->diag);
  k->n_parts++;
  return VLPC_OK;
}

static const char *rows_of(const Model *m, const char *entry) {
  for (uint32_t i = 0; i < m->manifest.n_entries; i++)
    if (strcmp(m->manifest.entries[i].name, entry) == 0) return m->manifest.entries[i].rows;
  return NULL;
}

/* That on rows is the last. */
static VlStatus choose_parts(Pack *k) {
  const Manifest *m = &k->m->manifest;
  VL_TRY(add_part(k, m->image.entry));
  VL_TRY(add_part(k, m->scores.entry));
  if (!k->keeps_texts) return VLPC_OK;
  VL_TRY(add_part(k, m->text.entry));
  return add_part(k, rows_of(k->m, m->text.entry));
}

static VlStatus pack_on(Pack *k, const char *path) {
  if (ARENA_GUARD(k->a)) return no_memory(k->s);
  k->value = arena_array(k->a, const void *, k->m->program.n_bufs + 1u);
  k->to = arena_array(k->a, uint32_t, k->m->program.n_bufs + 1u);
  for (int i = 0; i < DIM_MAX_SYMS; i++) k->size[i] = -1;
  VL_TRY(choose_parts(k));
  for (uint32_t i = 0; i < k->n_parts; i++) VL_TRY(fold_inputs(k, &k->part[i]));
  VL_TRY(make_sizes(k));
  make_program(k);
  return write_file(k, path);
}

VlStatus session_pack(vlpc_session *s, const char *path) {
  Pack k = {.s = s, .m = s->model, .keeps_texts = labels_follow_images(s->model)};
  if (!s->model->manifest.image.entry)
    return easy_lacks(s, "image entry", "pack an artifact that has the image tower");
  VL_TRY(labels_features(s, &k.features));
  k.a = arena_new(0);
  if (!k.a) return no_memory(s);
  VlStatus st = pack_on(&k, path);
  arena_free(k.a);
  return st;
}
