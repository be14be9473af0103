/* SPDX-License-Identifier: Apache-2.0 */
/* towers.c - which tower a value belongs to, and the names of things.
**
** in:     a lowered graph
** out:    points T.emb, T.0 …, T.feat, V.pre, V.0 …, V.feat, logits; inputs
**         image, text, attention_mask; sizes batch, classes, length; outputs
**         image_features, image_embeds, logits_per_image … and the same of texts
** method: the image is the float input of rank 4, the text the integer input of
**         the embedding; block l is the l-th attention of its tower, and its
**         input what the layernorm before the projections reads. */
#include "passes/pass_int.h"

#include <string.h>

/* ---- who depends on what ------------------------------------------------------- */

static uint8_t kind_of_input(const Graph *g, Val v, const bool *is_text) {
  const Type *t = ir_type_of(g, v);
  if (dtype_is_float(t->dtype) && t->rank == 4) return DEPENDS_IMAGE;
  return is_text[v.i] ? DEPENDS_TEXT : DEPENDS_OTHER;
}

/* Inputs whose elements are rows of an embedding. */
static bool *text_inputs(const Graph *g, Arena *a) {
  uint32_t n = ir_n_vals(g);
  bool *is_text = arena_array(a, bool, n + 1);
  for (uint32_t i = 1; i <= n; i++) {
    Val v = {i};
    bool is_gather = m_is(g, v, OP_gather) && m_const(g, ir_in(g, v, 0));
    if (!is_gather && !m_is(g, v, OP_embedding)) continue;
    Val ids = ir_in(g, v, 1);
    for (int k = 0; k < CHAIN_MAX && ir_n_in(g, ids) > 0; k++) ids = ir_in(g, ids, 0);
    is_text[ids.i] = m_is(g, ids, OP_input) && dtype_is_int(ir_type_of(g, ids)->dtype);
  }
  return is_text;
}

uint8_t *tower_depends(const Graph *g, Arena *a) {
  uint32_t n = ir_n_vals(g);
  uint8_t *at = arena_array(a, uint8_t, n + 1);
  bool *is_text = text_inputs(g, a);
  for (uint32_t i = 1; i <= n; i++) {
    Val v = {i};
    if (m_is(g, v, OP_input)) at[i] = kind_of_input(g, v, is_text);
    for (uint32_t k = 0; k < ir_n_in(g, v); k++) at[i] |= at[ir_in(g, v, k).i];
  }
  return at;
}

/* ---- sizes that are one ---------------------------------------------------------- */

/* The symbol that the size consists of. */
static bool lone_symbol(const Graph *g, DimId d, SymId *out) {
  Dim e = dim_get(ir_dims(g), d);
  if (e.n != 1 || e.c != 0 || e.term[0].k != 1) return false;
  *out = e.term[0].sym;
  return true;
}

static void unify(const Graph *g, Val text, Val mask, const char **name) {
  const Type *t = ir_type_of(g, text), *m = ir_type_of(g, mask);
  if (t->rank != 2 || m->rank != 2 || dtype_is_float(m->dtype)) return;
  for (uint32_t i = 0; i < 2; i++) {
    SymId a = 0, b = 0;
    if (lone_symbol(g, t->dim[i], &a) && lone_symbol(g, m->dim[i], &b) && a != b)
      name[b] = dim_symbol_name(ir_dims(g), a);
  }
}

Graph *tower_sizes(const Graph *g, Arena *a) {
  const Named *in = NULL;
  uint32_t n_in = ir_inputs(g, &in);
  bool *is_text = text_inputs(g, a);
  Graft gr = {.src = g, .dst = ir_graph_new(a)};
  gr.size_name = arena_array(a, const char *, DIM_MAX_SYMS);
  for (uint32_t i = 0; i < n_in; i++)
    for (uint32_t k = 0; k < n_in; k++)
      if (is_text[in[i].v.i] && !is_text[in[k].v.i]) unify(g, in[i].v, in[k].v, gr.size_name);
  graft_copy(&gr);
  graft_names(&gr);
  return gr.dst;
}

Graph *pass_fix_length(const Graph *g, int64_t length, Arena *a) {
  const Named *at = NULL;
  uint32_t n = ir_inputs(g, &at);
  bool *is_text = text_inputs(g, a);
  Graft gr = {.src = g, .dst = ir_graph_new(a)};
  DimId *size = arena_array(a, DimId, DIM_MAX_SYMS);
  for (uint32_t i = 0; i < n; i++) {
    SymId s = 0;
    const Type *t = ir_type_of(g, at[i].v);
    if (!is_text[at[i].v.i] || t->rank != 2 || !lone_symbol(g, t->dim[1], &s)) continue;
    size[s] = dim_const(ir_dims(gr.dst), length);
  }
  gr.size = size;
  graft_copy(&gr);
  graft_names(&gr);
  return gr.dst;
}

/* ---- points ---------------------------------------------------------------------- */

typedef struct {
  const Graph *g;
  Arena *a;
  const uint8_t *depends;
} Names;

static bool is_image(const Names *n, Val v) { return n->depends[v.i] == DEPENDS_IMAGE; }
static bool is_text(const Names *n, Val v) {
  return (n->depends[v.i] & DEPENDS_TEXT) != 0 && (n->depends[v.i] & DEPENDS_IMAGE) == 0;
}

/* What the layernorm before k's projection reads; VAL_NONE for other forms.  (Of
** the queries the last block may have one row only.) */
static Val block_input(const Graph *g, Val attention) {
  Val v = ir_in(g, attention, 1);
  if (m_is(g, v, OP_slice)) v = ir_in(g, v, 0);
  if (m_is(g, v, OP_linear)) v = ir_in(g, v, 0);
  return m_is(g, v, OP_layernorm) ? ir_in(g, v, 0) : VAL_NONE;
}

static void name_blocks(const Names *n, Graph *g, char tower) {
  uint32_t block = 0;
  for (uint32_t i = 1; i <= ir_n_vals(n->g); i++) {
    Val v = {i};
    if (!m_is(n->g, v, OP_attention) || (tower == 'V' ? !is_image(n, v) : !is_text(n, v))) continue;
    Val in = block_input(n->g, v);
    if (!val_ok(in)) return;
    if (block == 0 && tower == 'V')
      ir_point(g, "V.pre", m_is(g, in, OP_layernorm) ? ir_in(g, in, 0) : in);
    ir_point(g, arena_printf(n->a, "%c.%u", tower, block++), in);
  }
}

static void name_embedding(const Names *n, Graph *g) {
  for (uint32_t i = 1; i <= ir_n_vals(n->g); i++)
    if (m_is(n->g, (Val){i}, OP_embedding) && is_text(n, (Val){i})) {
      ir_point(g, "T.emb", (Val){i});
      return;
    }
}

/* The features of a tower: what its l2norm reads, else its one output. */
static Val features(const Names *n, char tower) {
  const Named *out = NULL;
  uint32_t n_out = ir_outputs(n->g, &out);
  for (uint32_t i = 1; i <= ir_n_vals(n->g); i++) {
    Val v = {i};
    bool is_ours = tower == 'V' ? is_image(n, v) : is_text(n, v);
    if (is_ours && m_is(n->g, v, OP_l2norm) && ir_type_of(n->g, v)->rank == 2)
      return ir_in(n->g, v, 0);
  }
  for (uint32_t i = 0; i < n_out; i++) {
    bool is_ours = tower == 'V' ? is_image(n, out[i].v) : is_text(n, out[i].v);
    if (is_ours && ir_type_of(n->g, out[i].v)->rank == 2) return out[i].v;
  }
  return VAL_NONE;
}

/* ---- names of inputs, outputs and sizes --------------------------------------------- */

static void add_alias(PassResult *r, Arena *a, AliasKind kind, const char *name, const char *file) {
  PassAlias *to = arena_array(a, PassAlias, r->n_alias + 1);
  if (r->n_alias > 0) memcpy(to, r->alias, r->n_alias * sizeof *to);
  to[r->n_alias++] = (PassAlias){kind, name, file};
  r->alias = to;
}

static bool has_text(const Names *n) {
  const Named *in = NULL;
  uint32_t n_in = ir_inputs(n->g, &in);
  for (uint32_t i = 0; i < n_in; i++)
    if (n->depends[in[i].v.i] == DEPENDS_TEXT) return true;
  return false;
}

static const char *input_name(const Names *n, Val v) {
  if (n->depends[v.i] == DEPENDS_IMAGE) return "image";
  if (n->depends[v.i] == DEPENDS_TEXT) return "text";
  const Type *t = ir_type_of(n->g, v);
  bool is_mask = t->rank == 2 && (dtype_is_int(t->dtype) || t->dtype == VLPC_BOOL);
  return is_mask && has_text(n) ? "attention_mask" : NULL;
}

static void name_size(const Names *n, PassResult *r, DimId d, const char *name) {
  SymId sym = 0;
  if (!lone_symbol(n->g, d, &sym)) return;
  const char *old = arena_strdup(n->a, dim_symbol_name(ir_dims(n->g), sym));
  if (strcmp(old, name) == 0 || !dim_rename(ir_dims(n->g), sym, name)) return;
  add_alias(r, n->a, ALIAS_SIZE, name, old);
}

static void name_sizes(const Names *n, PassResult *r) {
  const Named *in = NULL;
  uint32_t n_in = ir_inputs(n->g, &in);
  for (uint32_t i = 0; i < n_in; i++) {
    const Type *t = ir_type_of(n->g, in[i].v);
    uint8_t kind = n->depends[in[i].v.i];
    if (kind == DEPENDS_IMAGE) name_size(n, r, t->dim[0], "batch");
    if (kind == DEPENDS_TEXT && t->rank == 2) {
      name_size(n, r, t->dim[0], "classes");
      name_size(n, r, t->dim[1], "length");
    }
  }
}

static const char *output_name(const Names *n, Val v, Val image, Val text) {
  const Type *t = ir_type_of(n->g, v);
  if (val_eq(v, image)) return "image_features";
  if (val_eq(v, text)) return "text_features";
  if (m_is(n->g, v, OP_l2norm) && val_eq(ir_in(n->g, v, 0), image)) return "image_embeds";
  if (m_is(n->g, v, OP_l2norm) && val_eq(ir_in(n->g, v, 0), text)) return "text_embeds";
  bool is_score = (n->depends[v.i] & (DEPENDS_IMAGE | DEPENDS_TEXT)) ==
                      (DEPENDS_IMAGE | DEPENDS_TEXT) && t->rank == 2;
  if (!is_score) return NULL;
  return m_is(n->g, v, OP_permute) ? "logits_per_text" : "logits_per_image";
}

/* ---- the whole ----------------------------------------------------------------------- */

/* New names of the inputs, by value; a name is given once. */
static const char **input_names(const Names *n, PassResult *r) {
  const Named *in = NULL;
  uint32_t n_in = ir_inputs(n->g, &in);
  const char **to = arena_array(n->a, const char *, ir_n_vals(n->g) + 1);
  for (uint32_t i = 0; i < n_in; i++) {
    const char *name = input_name(n, in[i].v);
    for (uint32_t k = 0; k < n_in && name != NULL; k++) {
      bool is_given = k < i && to[in[k].v.i] == name;
      if (is_given || (k != i && strcmp(in[k].name, name) == 0)) name = NULL;
    }
    if (name == NULL || strcmp(name, in[i].name) == 0) continue;
    to[in[i].v.i] = name;
    add_alias(r, n->a, ALIAS_INPUT, name, in[i].name);
  }
  return to;
}

static void put_outputs(const Names *n, const Graft *gr, PassResult *r) {
  const Named *out = NULL;
  uint32_t n_out = ir_outputs(n->g, &out);
  Val image = features(n, 'V'), text = features(n, 'T');
  for (uint32_t i = 0; i < n_out; i++) {
    const char *name = output_name(n, out[i].v, image, text);
    for (uint32_t k = 0; k < n_out && name != NULL; k++)
      if (k != i && (strcmp(out[k].name, name) == 0 ||
                     (k < i && val_eq(out[k].v, out[i].v)))) name = NULL;
    bool is_new = name != NULL && strcmp(name, out[i].name) != 0;
    if (is_new) add_alias(r, n->a, ALIAS_OUTPUT, name, out[i].name);
    ir_output(gr->dst, is_new ? name : out[i].name, gr->map[out[i].v.i]);
    bool is_score = name != NULL && strcmp(name, "logits_per_image") == 0;
    if (is_score) ir_point(gr->dst, "logits", gr->map[out[i].v.i]);
  }
  if (val_ok(image)) ir_point(gr->dst, "V.feat", gr->map[image.i]);
  if (val_ok(text)) ir_point(gr->dst, "T.feat", gr->map[text.i]);
}

Graph *tower_names(const Graph *g, Arena *a, PassResult *r) {
  Names n = {g, a, tower_depends(g, a)};
  Graft gr = {.src = g, .dst = ir_graph_new(a), .input_name = input_names(&n, r)};
  graft_copy(&gr);
  put_outputs(&n, &gr, r);
  Names to = {gr.dst, a, tower_depends(gr.dst, a)};
  name_sizes(&to, r);
  name_embedding(&to, gr.dst);
  name_blocks(&to, gr.dst, 'T');
  name_blocks(&to, gr.dst, 'V');
  return gr.dst;
}
