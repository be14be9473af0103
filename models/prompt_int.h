/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_int.h - a prompt module while it is made.
**
** prompt.c makes a Plan of what was asked; a method's function adds trainables,
** taps, nodes and writes to a Module; prompt_module.c keeps graph and declaration
** in step.  A loss is a Module too, of which only the taps are declared. */
#ifndef VLPC_MODELS_PROMPT_INT_H
#define VLPC_MODELS_PROMPT_INT_H

#include <jansson.h>

#include "models/models.h"
#include "models/onnx_write.h"

#define PROMPT_SD 0.02      /* of rows that start at random */
#define PROMPT_STAGE 30     /* epochs before a later loss */
enum { PROMPT_ALL = 1 << 20 }; /* as a depth: every layer */

typedef struct {
  int64_t rows, depth; /* rows at each of the first depth layers */
} PromptRows;

/* Of a loss's parts; 0: it has no such part. */
typedef struct {
  double text, image, logit, aux;
} PromptWeights;

typedef struct Module Module;
typedef void PromptBuild(Module *m);

typedef struct {
  const char *name;
  PromptBuild *build, *loss, *later; /* later: after PROMPT_STAGE epochs, or NULL */
  PromptRows text, vision;
  const char *phrase;
  PromptWeights weights;
  uint32_t takes; /* bits of prompt_plan.c's options */
  const char *what, *source;
} PromptMethod;

typedef struct {
  const PromptMethod *method;
  PromptHost host;
  PromptRows text, vision;
  const char *phrase; /* NULL: text rows start at random */
  const float *words; /* the phrase's rows; NULL: zeros stand for them */
  const char *place;
  bool class_rows; /* text rows of their own for each class */
  int64_t classes, top, keys;
  PromptWeights weights;
  const char *weights_text; /* as TRAIN_WEIGHTS has them; NULL: the loss has no parts */
  uint64_t seed;
} PromptPlan;

struct Module {
  Arena *arena;
  const PromptPlan *plan;
  OnnxGraph *g;
  json_t *trainable, *taps, *writes;
  bool lift;
  bool whole_batch; /* a loss that is not the mean of those of the photos */
  bool incomplete; /* JSON ran out of memory */
};

/* ---- prompt_plan.c -------------------------------------------------------- */

/* What was asked, checked and with the method's own values where nothing was. */
VL_MUST_USE VlStatus prompt_plan(const PromptOptions *o, Arena *a, Diag *d, PromptPlan *out);

/* ---- prompt_module.c ------------------------------------------------------ */

Module *module_new(Arena *a, const PromptPlan *p, const char *name);

typedef struct {
  const char *kind;   /* key of the declaration's init */
  double amount;      /* sd, bound or value */
  const char *source; /* phrase or trainable */
} PromptInit;
PromptInit init_normal(double sd);
PromptInit init_uniform(double bound);
PromptInit init_linear(int64_t fan_in); /* as PyTorch starts linear layers */
PromptInit init_fill(double value);
PromptInit init_words(const char *phrase);
PromptInit init_copy(const char *trainable);

typedef struct {
  const char *name;
  PromptInit init;
  uint32_t rank;
  int64_t size[4];
  bool class_rows; /* axis 0 is the classes */
  bool fixed;      /* comes with the prompt set, but is not learned */
} Trainable;
/* Adds an initializer; its name is the value's name. */
const char *module_trainable(Module *m, const Trainable *t);

typedef struct {
  OnnxPort port;
  const char *from, *segment; /* segment NULL: the value has none */
  bool stop;
} Tap;
const char *module_tap(Module *m, const Tap *t);

/* Makes x an output of the graph, under the port's name. */
const char *module_output(Module *m, const char *x, const OnnxPort *p);
/* "From this point on, segment := value"; segment NULL: all of it. */
void module_write(Module *m, const char *point, const char *segment, const char *value);
void module_drop(Module *m, const char *point);

/* Rows of a prompt: output `name` of [rows, width], written to segment at point.
** For text, rows of a class's own where the plan says so. */
void module_text_rows(Module *m, int64_t layer, const char *x);
void module_vision_rows(Module *m, const char *point, int64_t layer, const char *x);
/* "T.3"; "T.emb" for layer 0. */
const char *text_point(Module *m, int64_t layer);
const char *vision_point(Module *m, int64_t layer);

/* x · weightᵀ + bias; weight [out, in]; bias may be NULL. */
const char *module_linear(Module *m, const char *x, const char *weight, const char *bias);
/* Row i of axis 0. */
const char *module_part(Module *m, const char *x, int64_t i);
const char *module_unit(Module *m, const char *x);
const char *module_scaled(Module *m, const char *x, double by);

#define M_OP1(op, a) onnx_op(m->g, op, a, NULL, NULL)
#define M_OP2(op, a, b) onnx_op(m->g, op, a, b, NULL)

/* ---- prompt_text.c, prompt_visual.c: parts that other methods take in ----- */

/* Context at the input and rows of their own at the plan's deeper layers. */
void add_text(Module *m);
/* The context alone, a trainable of the plan's start; returns its value. */
const char *add_context(Module *m);
/* MaPLe's port; names start with prefix. */
void add_vpt(Module *m, const char *prefix);
/* DPT's port, at layers 0 … depth - 1, from trainable `name` [depth, rows, width]. */
void add_renewed(Module *m, const char *name, int64_t depth);

/* ---- methods and losses ----------------------------------------------------- */

#define PROMPT(name, build, loss, later, ...) PromptBuild prompt_##build, loss_##loss, loss_##later;
#include "models/prompt_methods.def"

#endif
