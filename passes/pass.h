/* SPDX-License-Identifier: Apache-2.0 */
/* pass.h - from an imported graph to the graph that is scheduled.
**
** pass_lower brings the graphs of all exporters to one form: semantic ops
** (attention, layernorm, linear, …) on [batch, rows, width] values, stream
** points named, canonical names for inputs, outputs and sizes.  Every pass
** rebuilds the graph; none edits it.  What was recognised, and what looks as if
** it should have been, is in the report.
**
** Meaning: outputs keep exactly what the file computes, image_features and
** text_features are features before normalisation, image_embeds and text_embeds
** after it.  Two liberties are taken.  A row of attention that sees no key gives
** zeros, whatever the export gave there (NaN, or a mean of masked rows).  A mask
** entry of -1e4 or less counts as minus infinity where it makes a triangle.
**
** Memory: results lie on the given arena.  Threads: one at a time per arena. */
#ifndef VLPC_PASSES_PASS_H
#define VLPC_PASSES_PASS_H

#include "ir/ir.h"

/* ---- the pass table ------------------------------------------------------ */

typedef enum {
  PASS_none, /* ids count from 1 */
#define PASS(id, needs, makes, what) PASS_##id,
#include "passes/passes.def"
  PASS__COUNT
} PassId;
#define PASS_BIT(id) (UINT64_C(1) << PASS_##id)

const char *pass_name(PassId p);
const char *pass_what(PassId p);
/* False when no pass has that name. */
bool pass_find(const char *name, PassId *out);

/* ---- recognition report (report.c) --------------------------------------- */

typedef enum {
  FUSE_attention,
  FUSE_layernorm,
  FUSE_gelu,
  FUSE_linear,
  FUSE_embedding,
  FUSE_patch_embed,
  FUSE_l2norm,
  FUSE__COUNT
} FuseKind;
const char *fuse_name(FuseKind k);
/* False when no kind has that name of n bytes. */
bool fuse_find(const char *name, size_t n, FuseKind *out);

/* A node that looks like part of a kind that was not recognised. */
typedef struct {
  FuseKind kind;
  Val v;              /* in the reported graph */
  DiagAt at;          /* the file's node */
  const char *reason; /* the first thing that did not fit */
} FuseMiss;

typedef struct {
  uint32_t n[FUSE__COUNT]; /* recognised nodes */
  uint32_t n_miss;
  FuseMiss *miss;
} FuseReport;

FuseReport pass_report(const Graph *g, Arena *a);
/* "attention 12/12, layernorm 26/26, …" and one line per miss. */
void pass_report_text(const FuseReport *r, Str *out);
/* E0401 for each miss of a kind in the set (bit k: FuseKind k). */
VL_MUST_USE VlStatus pass_require(const FuseReport *r, uint32_t kinds, Diag *d);
/* "attention,gelu" to a set of kinds; E0402 for an unknown word. */
VL_MUST_USE VlStatus pass_require_parse(const char *text, Diag *d, uint32_t *kinds);

/* ---- lowering (pass.c) --------------------------------------------------- */

enum {                        /* checks after each pass */
  PASS_CHECK_ROUNDTRIP = 1,   /* parse(print(g)) prints the same text */
  PASS_CHECK_CLONE = 2,       /* goes on with a copy of the graph */
  PASS_CHECK_EVAL = 4         /* interpreted before and after: equal outputs */
};

typedef void PassDumpFn(void *ctx, uint32_t step, const char *pass, const char *text);

/* All zero: every pass runs, nothing is checked but the verifier's rules. */
typedef struct {
  uint64_t skip;     /* PASS_BIT of passes left out */
  PassId stop_after; /* PASS_none: run all */
  uint32_t bisect;   /* only the first N runs of passes; 0: no limit */
  uint32_t check;
  uint64_t dump; /* PASS_BIT of passes after which on_dump gets the text */
  bool approx;   /* also equalities that hold up to rounding */
  PassDumpFn *on_dump;
  void *dump_ctx;
} PassOpts;

typedef struct {
  PassId pass;
  double ms;
  uint32_t before, after; /* values */
  bool changed;
} PassRun;

/* One name two ways: as vlpc calls an input, output or size and as the file
** does. */
typedef enum { ALIAS_INPUT, ALIAS_OUTPUT, ALIAS_SIZE } AliasKind;
typedef struct {
  AliasKind kind;
  const char *name, *file_name;
} PassAlias;

typedef struct {
  Graph *g;
  FuseReport report;
  uint32_t n_runs, n_alias;
  PassRun *run;
  PassAlias *alias;
} PassResult;

/* Lowers g on its own arena; opt may be NULL.  A pass that breaks the graph is
** a fault of vlpc: E0403 names it and what broke. */
VL_MUST_USE VlStatus pass_lower(Graph *g, const PassOpts *opt, Diag *d, PassResult *out);

/* The same passes once more on a graph that was lowered, joined and added to; it
** keeps its names and points. */
VL_MUST_USE VlStatus pass_relower(Graph *g, const PassOpts *opt, Diag *d, PassResult *out);

/* The graph on arena a, in primitives where it has semantic ops that the skipped passes
** recognise. */
Graph *pass_apart(const Graph *g, uint64_t skip, Arena *a);
/* ---- gradients (grad.c) -------------------------------------------------- */

#define PASS_GRAD "grad."

/* What the way back keeps of the way there; the rest is computed once more, to the
** same bits, when it is needed. */
typedef enum {
  GRAD_KEEP_all,
  GRAD_KEEP_narrow, /* not what activations read: that is wider than the stream */
  GRAD_KEEP_sums    /* of blocks, the sums of the stream alone */
} GradKeep;

typedef struct {
  Val loss;
  const Named *of; /* what to differentiate by */
  uint32_t n;
  const char *prefix; /* of the outputs' names, such as PASS_GRAD */
  GradKeep keep;
  /* Of what is computed once more: its own for each call on a graph, or steps would come in
  ** the order of another call; 0: keep */
  uint32_t time;
} GradSpec;

/* Reverse mode.  Adds to g, for each value of[i].v that reaches the loss, an output of the
** name that is prefix and of[i].name: the gradient of the loss with respect to it, of its
** type.  Only values that depend on
** one of them and reach the loss get a gradient; nothing passes a `stop`.  Every sum has
** one order.
** *out is the graph without its stops, on g's arena; g keeps the added nodes.
** E0480 names a node without a rule. */
VL_MUST_USE VlStatus pass_grad(Graph *g, const GradSpec *spec, Diag *d, Graph **out);

/* ---- after lowering ------------------------------------------------------ */

/* Both towers in one graph on arena a (join.c).  Equal names of sizes stay
** apart: sizes of the second graph are renamed.  E0404 when both have an input
** or output of one name. */
VL_MUST_USE VlStatus pass_join(const Graph *image, const Graph *text, Arena *a, Diag *d,
                               Graph **out);

/* Texts of any length become texts of one (towers.c); on arena a. */
Graph *pass_fix_length(const Graph *g, int64_t length, Arena *a);

/* For one query row, keys and values are not made (absorb.c): up to rounding. */
Graph *pass_absorb(const Graph *g, Arena *a);

/* How the last attention that features depend on shares itself out, f32[batch, keys]
** (attention_map.c); VAL_NONE: there is none without a mask. */
Val pass_attention_map(Graph *g, Val features);

/* Products make no columns that nobody reads (narrow.c). */
Graph *pass_narrow(const Graph *g, Arena *a);

/* ---- constants (constants.c) ---------------------------------------------- */

/* A constant: computed from const nodes alone and read by a node that is not, or an
** output.  All but const nodes of so few elements that they stand in the graph's
** text; their number, in the order of the graph, on the arena. */
#define PASS_CONSTANT_INLINE 8
uint32_t pass_constants(const Graph *g, Arena *a, Val **out);
/* Whether both are the same expression of the same bytes. */
bool pass_same_constant(const Graph *a, Val x, const Graph *b, Val y);
/* A copy with a const of with[v], by value index, for each v where that is given. */
Graph *pass_with_constants(const Graph *g, Arena *a, const Blob *const *with);

/* The functions that a lowered graph offers (entry.c), at most ENTRY_MAX:
**   image  what depends on the image alone; image_features is always there
**   text   the same for the texts (and attention_mask); text_features
**   model  all outputs, when one needs both image and text
** A graph without towers has the entry "model" only.  Names and lists lie on
** the graph's arena. */
typedef struct {
  Named *at;
  uint32_t n;
} CutList;
typedef enum {
  CHUNKS_none,
  CHUNKS_head,  /* runs between the two others: */
  CHUNKS_ahead, /* features of texts */
  CHUNKS_back   /* their gradient's way back */
} PassChunks;
typedef struct {
  const char *name;
  const Named *out; /* values of the graph and their names */
  uint32_t n_out;
  CutList given;    /* inner values that are inputs of this entry */
  /* the entry that it is on packed rows, and the one that it is with less memory; NULL: none */
  const char *rows_of, *lean_of;
  PassChunks chunks;
} PassEntry;
enum { ENTRY_MAX = 40 }; /* with those of prompts and training, and stand-ins */
uint32_t pass_entries(const Graph *g, PassEntry out[ENTRY_MAX]);

/* ---- binding times (binding.c) -------------------------------------------- */

/* When a value is known, earliest first: when compiling, when a prompt set is
** given, when classes are, when an image comes, in a step of training. */
typedef enum {
  BIND_const, BIND_prompts, BIND_classes, BIND_image, BIND_step, BIND__COUNT
} BindTime;
const char *bind_name(BindTime t);

/* Inputs that a prompt set binds. */
typedef struct {
  const char *const *at;
  uint32_t n;
} TrainableNames;
/* By value index; arena array.  time is when trainables are known: BIND_prompts, or
** BIND_step where they change. */
BindTime *pass_binding(const Graph *g, Arena *a, const TrainableNames *trainables, BindTime time);

/* What is known at a time and read by the late entries at later ones: values of
** the graph, named as the early entry (which may be NULL) has them among its
** outputs, else "TIME.0", "TIME.1" …  Inputs of the graph are not among them. */
typedef struct {
  const BindTime *at; /* of pass_binding */
  BindTime time;
  TypeId type; /* only values of this type are cut, else what they are made of; .i = 0: any */
  const PassEntry *late, *early;
  uint32_t n_late;
} Cut;
CutList pass_cut(const Graph *g, Arena *a, const Cut *c);

/* An entry that reads texts once more, on packed rows (text_rows.c): what comes after
** a text's end is not computed, and a prefix that all texts share only once.
**   row_ids, row_positions  i64[rows]  the ids and where each stands in its text
**   run_bounds  i64[runs]   the common prefix, then one run a text: run s is rows
**                           run_bounds[s] … run_bounds[s+1]-1
**   row_ends    i64[classes]  the row of each text's end
** and where learned rows are each class's own, or stand around or behind a name,
**   row_sources i64[rows]   k of class c's m learned rows is c·m + k, and row r of the
**                           texts' own classes·m + r; ids and positions are of the texts
**                           as they are then, so that name_lengths is no input
** Outputs are those of the entry, exactly.  Adds to g, which must be final but for
** gradients.  False when the tower is not causal, or reads more than one row. */
typedef struct {
  PassEntry entry;
  int64_t eot; /* a text ends at the first id of this value; -1: of its largest */
  int64_t prefix; /* least rows of the common prefix, which learned rows without sources
                     lie in */
} TextRows;
#define PASS_ROWS "_rows" /* the entry's name is the other's and this */
bool pass_text_rows(Graph *g, const PassEntry *of, TextRows *out);

/* A loss and its texts apart (text_chunks.c), by inputs of the features' type. */
typedef struct {
  Val given; /* the input CHUNK_FEATURES */
  Val loss;  /* with it in place of the features */
  Val sum;   /* of the features' products with CHUNK_GRADIENT */
} TextChunks;
/* Adds to g.  False when the loss does not depend on the features, [classes, width]. */
bool pass_text_chunks(Graph *g, Val loss, Val features, TextChunks *out);
/* Whether an entry computes anything of texts, or of images, but what it is given. */
bool pass_reads_texts(const Graph *g, const PassEntry *e);
bool pass_reads_images(const Graph *g, const PassEntry *e);

/* The lowered graph as text without names and places, weights as hashes of
** their content (normal.c): equal for exports of one model.  Scalars have six
** digits, because exporters fold them in arithmetic of their own. */
VL_MUST_USE VlStatus pass_normal_text(const Graph *g, Diag *d, Str *out);

#endif
