/* SPDX-License-Identifier: Apache-2.0 */
/* compiler.h - the compiler as one piece: ONNX files in, an artifact out.
**
**   read → import → lower → join → link → schedule → write
**
** The files of this folder only connect the others: compile.c runs the stages,
** weights.c evaluates constants into the weight section, source.c keeps the towers and
** reads them back, link.c brings in a prompt module, declaration.c reads what it says of
** itself, train*.c add its losses and gradients, scale.c finds the factor of cosines,
** sections.c makes the other sections, report.c says what was fused, entry.c is the library's
** only exported function.  Everything lies on one arena per call. */
#ifndef VLPC_COMPILER_COMPILER_H
#define VLPC_COMPILER_COMPILER_H

#include "base/train_entries.h"
#include "base/vec.h"
#include "compiler/declaration.h"
#include "frontend/frontend.h"
#include "models/models.h"
#include "passes/pass.h"
#include "passes/sched.h"
#include "runtime/artifact.h"
#include "runtime/compiler_api.h"
#include "runtime/manifest.h"

#define COMPILE_MAX_MODELS 2
#define SCORES_ENTRY "scores"

enum { /* beside the SCHED_NO_ flags */
  COMPILE_NO_TEXT_ROWS = 1 << 16,
  COMPILE_NO_NARROW = 1 << 17,
  COMPILE_NO_ABSORB = 1 << 18,
  COMPILE_NO_CUT = 1 << 19,
  COMPILE_NO_RECOMPUTE = 1 << 20
};

/* A constant of the towers that the program has in another form; its place in the
** section kept. */
typedef struct {
  Val v;
  uint64_t offset, bytes;
} SourceKept;

/* One compilation, filled stage by stage. */
typedef struct {
  const vlpc_compile_options *o;
  Arena *a;
  Diag *d;
  PassOpts pass;
  uint32_t sched_flags;
  bool bf16; /* the precision asked for */
  uint32_t n_models;
  FeModel *model[COMPILE_MAX_MODELS];
  Graph *imported[COMPILE_MAX_MODELS];
  PassResult lowered[COMPILE_MAX_MODELS];
  Graph *graph; /* the lowered graph of all towers, then with prompts */
  Graph *towers; /* without prompts, and before rewrites for speed */
  ArtifactFile source; /* has_source: the model is an artifact, not ONNX files */
  bool has_source;
  VEC(SourceKept) kept; /* of what is written */
  uint64_t kept_bytes;
  FuseReport report; /* of what the files say, before rewrites for speed */
  FeModel *module, *loss_model[TRAIN_LOSSES]; /* the prompt module and its losses; NULL: none */
  Declaration declaration;
  TrainableNames trainables;
  LinkLayout layout; /* of the module in the towers */
  double logit_scale;    /* factor of cosines */
  const char *base_hash; /* of the towers without the module */
  bool has_prompts;      /* there is an entry of what prompts alone decide */
  PassEntry entry[ENTRY_MAX];
  uint32_t n_entries;
  bool leans_on_rows[TRAIN_LOSSES]; /* training with less memory runs on packed rows too */
  uint32_t n_grads; /* calls of pass_grad that compute once more */
  Val text_features; /* on packed rows, of which training can take some classes at a time */
  uint32_t n_stand_ins; /* of them; they are the last */
  int64_t eot; /* of entries on rows: a text ends at the first id of this value; -1: of its
                  largest */
  Schedule plan;
  Str dump; /* what --dump asked for */
} Compile;

/* compile.c */
VL_MUST_USE VlStatus compile_lower(Compile *c);    /* up to graph and entries */
VL_MUST_USE VlStatus compile_schedule(Compile *c); /* up to plan */
VL_MUST_USE VlStatus compile_write(Compile *c);    /* the artifact */
/* Unmaps the models; the arena stays. */
void compile_close(Compile *c);

/* link.c */
/* Links the prompt module of the options, when there is one, into the graph. */
VL_MUST_USE VlStatus compile_link(Compile *c);
void compile_entries(Compile *c);

/* train.c */
VL_MUST_USE VlStatus compile_check_train(const Compile *c);
/* The losses, as many as *n, when training is asked for; else none. */
VL_MUST_USE VlStatus compile_read_losses(Compile *c, LinkLoss out[TRAIN_LOSSES], uint32_t *n);
/* Adds gradients of the trainables to the linked graph. */
VL_MUST_USE VlStatus compile_gradients(Compile *c);
/* The entry of loss and gradients; false: there is none. */
bool compile_train_entry(const Compile *c, uint32_t stage, PassEntry *out);
/* What the names of a stage's outputs begin with. */
const char *compile_prefix(const Compile *c, uint32_t stage, const char *of);
/* Loss and gradients among the outputs of the stage whose names begin with the prefix. */
bool compile_step_entry(const Compile *c, uint32_t stage, const char *prefix, PassEntry *out);
/* It is one of training's, or stands in for one. */
bool compile_trains(const PassEntry *e);
/* train_cut.c: adds entries for what it computes but need not in every step. */
void compile_cut_training(Compile *c, uint32_t stage, const PassEntry *train);
/* train_chunks.c: of a stage, its loss on packed rows and its trainables. */
VL_MUST_USE VlStatus compile_chunks(Compile *c, uint32_t stage, const GradSpec *of);
/* The entry that runs e's texts some classes at a time, to stand in for `before`; false: there
** is none.  And the two that it needs, when it is there. */
bool compile_chunks_entry(const Compile *c, uint32_t stage, const PassEntry *e,
                          const char *before, PassEntry *out);
uint32_t compile_chunks_parts(const Compile *c, PassEntry *out);
/* Those that stand in for training's entries, which are there; returns how many. */
uint32_t compile_train_stand_ins(const Compile *c, PassEntry *out);
/* Once the graph is final: what prompts alone decide becomes an entry. */
void compile_cut_prompts(Compile *c);
ManifestPrompts compile_manifest_prompts(const Compile *c);

/* switches.c: "--no-x --check=eval …" into pass options and schedule flags. */
VL_MUST_USE VlStatus compile_switches(Compile *c);

/* weights.c */
/* Adds every constant of the plan to the open weight section, in order. */
VL_MUST_USE VlStatus weights_write(const Compile *c, ArtifactWriter *w);

/* Adds one value row-major to the open section. */
VL_MUST_USE VlStatus weights_write_value(const Compile *c, Val v, uint64_t bytes,
                                         ArtifactWriter *w);

/* source.c */
bool source_is_artifact(const char *path);
/* Towers, aliases and the open file of the artifact models[0]. */
VL_MUST_USE VlStatus source_read(Compile *c);
/* The towers with zeros for all weights: enough to read shapes. */
VL_MUST_USE VlStatus source_shapes(const ArtifactFile *f, Arena *a, Diag *d, Graph **out);
/* The section graph; notes what the section kept has to hold. */
void source_graph(Compile *c, Str *out);
VL_MUST_USE VlStatus source_kept(const Compile *c, ArtifactWriter *w);

/* sections.c */
/* The factor in logits = factor · images · textsᵀ. */
VL_MUST_USE VlStatus compile_logit_scale(Compile *c); /* sets it, of the towers */
void manifest_section(const Compile *c, Str *out);
VL_MUST_USE VlStatus provenance_section(const Compile *c, Str *out);
VL_MUST_USE VlStatus seal_section(const Compile *c, ArtifactWriter *w);

/* report.c */
void compile_report(const Compile *c, vlpc_text_format format, Str *out);

/* texts.c: kernels, program and binding times as text, for people. */
void binding_text(const Compile *c, Str *out);
void kernels_text(KernelList l, Str *out);
void program_text(const Program *p, KernelList l, Str *out);

/* inspect.c */
VL_MUST_USE VlStatus inspect_onnx(const char *path, vlpc_text_format format, Arena *a, Diag *d,
                                  Str *out);

/* tune.c: options complete; the kernels section is hostile. */
VL_MUST_USE VlStatus tune_run(const vlpc_tune_options *o, Section kernels, Arena *a, Diag *d,
                              Str *out);

/* prompt_host.c */
/* Tokens of a text; 0: not known. */
int64_t compile_context(const Graph *g);
/* k has an arena and a diag; its graph is there afterwards if the model is of ONNX files. */
VL_MUST_USE VlStatus prompt_host(const vlpc_prompt_options *o, Compile *k, PromptHost *out);

/* prompt.c */
VL_MUST_USE VlStatus prompt_write(const vlpc_prompt_options *o, Arena *a, Diag *d);
void prompt_list(vlpc_text_format format, Str *out);

#endif
