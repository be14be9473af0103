/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_plan.c - the table of methods, and options held against it. */
#include <string.h>

#include "base/str.h"
#include "base/train_entries.h"
#include "models/prompt_int.h"

enum {
  LENGTH = 1,
  DEPTH = 2,
  VISION = 4, /* rows and depth of images of their own */
  PLACE = 8,
  CLASS_ROWS = 16,
  PHRASE = 32,
  CLASSES = 64,
  TOP = 128,
  KEYS = 256,
  SPARE = 512 /* no option: a depth beyond the layers */
};

static const PromptMethod methods[] = {
#define NO {0, 0}
#define ROWS(rows, depth) {rows, depth}
#define ALL PROMPT_ALL
#define NONE {0, 0, 0, 0}
#define W(text, image, logit, aux) {text, image, logit, aux}
#define PROMPT(name, build, loss, later, text, vision, phrase, weights, takes, what, source)      \
  {name,   prompt_##build, loss_##loss, loss_##later, text,  vision,                               \
   phrase, weights,        takes,       what,         source},
#include "models/prompt_methods.def"
};

bool models_prompt_row(uint32_t i, PromptRow *out) {
  if (i >= VL_COUNT(methods)) return false;
  const PromptMethod *m = &methods[i];
  *out = (PromptRow){.name = m->name,
                     .what = m->what,
                     .source = m->source,
                     .length = m->text.rows,
                     .depth = m->text.depth == PROMPT_ALL ? -1 : m->text.depth,
                     .vision_length = m->vision.rows,
                     .vision_depth = m->vision.depth == PROMPT_ALL ? -1 : m->vision.depth,
                     .phrase = m->phrase};
  return true;
}

static VlStatus find_method(const char *name, Diag *d, const PromptMethod **out) {
  const char *names[VL_COUNT(methods)];
  for (size_t i = 0; i < VL_COUNT(methods); i++) {
    names[i] = methods[i].name;
    *out = &methods[i];
    if (name != NULL && strcmp(names[i], name) == 0) return VLPC_OK;
  }
  const char *near = name != NULL ? str_nearest(name, names, VL_COUNT(methods)) : NULL;
  VlStatus s = diag_error(d, DIAG_METHOD_UNKNOWN, DIAG_NOWHERE, "no prompt method is called '%s'",
                          name != NULL ? name : "");
  if (near != NULL)
    diag_fix(d, "did you mean '%s'?", near);
  else
    diag_fix(d, "see 'vlpc prompt list'");
  return s;
}

/* ---- what a method takes ---------------------------------------------------- */

typedef struct {
  uint32_t bit;
  const char *name;
  bool given;
} Asked;

static VlStatus check_taken(const PromptOptions *o, const PromptMethod *m, Arena *a, Diag *d) {
  const Asked asked[] = {{LENGTH, "length", o->length != 0},
                         {DEPTH, "depth", o->depth != 0},
                         {VISION, "vision-length", o->vision_length != 0},
                         {VISION, "vision-depth", o->vision_depth != 0},
                         {PLACE, "place", o->place != NULL},
                         {CLASS_ROWS, "csc", o->class_rows},
                         {PHRASE, "phrase", o->phrase != NULL},
                         {CLASSES | CLASS_ROWS, "class-count", o->classes != 0},
                         {TOP, "top-classes", o->top != 0},
                         {KEYS, "keys", o->keys != 0}};
  Str takes = {.arena = a};
  for (size_t i = 0; i < VL_COUNT(asked); i++)
    if ((m->takes & asked[i].bit) != 0)
      str_printf(&takes, "%s%s", takes.n > 0 ? ", " : "", asked[i].name);
  for (size_t i = 0; i < VL_COUNT(asked); i++) {
    if (!asked[i].given || (m->takes & asked[i].bit) != 0) continue;
    VlStatus s = diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE, "%s takes no %s", m->name,
                            asked[i].name);
    diag_expected(d, "%s", takes.n > 0 ? str_text(&takes) : "no option but the seed");
    return s;
  }
  return VLPC_OK;
}

/* ---- values ------------------------------------------------------------------ */

typedef struct {
  const char *what;
  int64_t value, most;
  const char *reason; /* of the bound */
} Bound;

static VlStatus check_bound(const PromptMethod *m, const Bound *b, Diag *d) {
  if (b->value >= 1 && b->value <= b->most) return VLPC_OK;
  bool absent = b->value == 0;
  VlStatus s = diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE, "the %s of %s is %s", b->what,
                          m->name, absent ? "not given" : "out of range");
  if (!absent) diag_found(d, "%lld", (long long)b->value);
  diag_expected(d, "1 to %lld%s", (long long)b->most, b->reason);
  return s;
}

enum { SIZE_MOST = 1 << 20, FRAME = 4 /* begin, one token of a name, full stop, end */ };

static VlStatus check_host(const PromptHost *h, Diag *d) {
  const int64_t size[] = {h->text_width,    h->vision_width, h->embed, h->text_layers,
                          h->vision_layers, h->context};
  for (size_t i = 0; i < VL_COUNT(size); i++) {
    if (size[i] >= 1 && size[i] <= SIZE_MOST) continue;
    VlStatus s = diag_error(d, DIAG_PROMPT_HOST, DIAG_NOWHERE,
                            "the model's sizes are not known or make no CLIP");
    diag_found(d, "widths %lld, %lld, %lld; layers %lld, %lld; %lld tokens", (long long)size[0],
               (long long)size[1], (long long)size[2], (long long)size[3], (long long)size[4],
               (long long)size[5]);
    diag_expected(d, "widths of text, image, joint space; layers of text, image; tokens of a text");
    return s;
  }
  return VLPC_OK;
}

static int64_t given(int64_t asked, int64_t other) {
  return asked != 0 ? asked : other;
}

/* A depth of 1 is the method's nature and stays. */
static int64_t depth_of(int64_t asked, const PromptRows *own, int64_t layers) {
  return own->depth <= 1 ? own->depth : given(asked, VL_MIN(own->depth, layers));
}

static VlStatus plan_text(const PromptOptions *o, Diag *d, PromptPlan *p) {
  const PromptMethod *m = p->method;
  if (m->text.rows == 0) return VLPC_OK;
  Bound rows = {"length", p->text.rows, p->host.context - FRAME,
                " rows: a text also holds its begin, a name, a full stop and its end"};
  Bound depth = {"depth", p->text.depth, p->host.text_layers, ", the layers of the text tower"};
  VL_TRY(check_bound(m, &rows, d));
  VL_TRY(check_bound(m, &depth, d));
  p->place = o->place != NULL ? o->place : "end";
  if (strcmp(p->place, "end") == 0 || strcmp(p->place, "middle") == 0 ||
      strcmp(p->place, "front") == 0)
    return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE, "there is no such place in a text");
  diag_found(d, "'%s'", p->place);
  diag_expected(d, "end, middle or front");
  return s;
}

static VlStatus plan_vision(Diag *d, PromptPlan *p) {
  const PromptMethod *m = p->method;
  if (m->vision.rows == 0) return VLPC_OK;
  Bound rows = {"length", p->vision.rows, 4096, " rows"};
  Bound depth = {"depth", p->vision.depth, p->host.vision_layers,
                 ", the layers of the image tower"};
  if ((m->takes & SPARE) != 0) depth.most = 4096, depth.reason = " layers";
  VL_TRY(check_bound(m, &rows, d));
  return check_bound(m, &depth, d);
}

/* ---- words ------------------------------------------------------------------- */

static int64_t count_words(const char *phrase) {
  int64_t n = 0;
  for (const char *p = phrase; *p != '\0'; n++) {
    p += strcspn(p, " ");
    p += strspn(p, " ");
  }
  return n;
}

static bool is_text(const char *s) {
  size_t n = strlen(s), step;
  for (size_t i = 0; i < n; i += step)
    if ((step = utf8_length(s + i, n - i)) == 0 || (unsigned char)s[i] < ' ') return false;
  return true;
}

/* Words start the rows when there are enough of them; a phrase that was asked
** for must have enough, and is one for all classes. */
static VlStatus plan_phrase(const PromptOptions *o, Diag *d, PromptPlan *p) {
  const char *asked = o->phrase;
  p->phrase = asked != NULL ? asked : p->method->phrase;
  if (p->phrase == NULL || *p->phrase == '\0') {
    p->phrase = NULL;
    return VLPC_OK;
  }
  int64_t words = count_words(p->phrase);
  if (asked != NULL && o->length == 0 && p->text.depth == 1) p->text.rows = words;
  if (asked != NULL && (o->class_rows || words < p->text.rows || !is_text(asked))) {
    VlStatus s =
        diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE, "the phrase cannot start the rows");
    diag_found(d, "'%s' for %lld rows", asked, (long long)p->text.rows);
    diag_expected(d, "%s", o->class_rows ? "none: rows of each class start at random"
                                         : "UTF-8 with at least one word a row");
    return s;
  }
  if (words < p->text.rows) p->phrase = NULL;
  return VLPC_OK;
}

/* ---- counts ------------------------------------------------------------------ */

static VlStatus plan_counts(const PromptOptions *o, Diag *d, PromptPlan *p) {
  const PromptMethod *m = p->method;
  bool classes = o->class_rows || (m->takes & CLASSES) != 0;
  int64_t n = o->classes || !classes ? o->classes : o->known_classes;
  const Bound need[] = {{"class-count", n, SIZE_MOST, " classes"},
                        {"top-classes", given(o->top, 10), SIZE_MOST, " classes"},
                        {"keys", o->keys, SIZE_MOST, " stored features"}};
  const bool needed[] = {classes, (m->takes & TOP) != 0, (m->takes & KEYS) != 0};
  for (size_t i = 0; i < VL_COUNT(need); i++)
    if (needed[i]) VL_TRY(check_bound(m, &need[i], d));
  p->class_rows = o->class_rows;
  p->classes = n;
  p->top = VL_MIN(given(o->top, 10), n);
  p->keys = o->keys;
  return VLPC_OK;
}

/* ---- weights of the loss ------------------------------------------------------ */

typedef struct {
  const char *name;
  double own; /* as published; 0: the loss has no such part */
  double *at;
} Part;

enum { PARTS = 4, WEIGHT_MOST = 1000000 };

static void parts_of(PromptPlan *p, Part out[PARTS]) {
  const PromptWeights *own = &p->method->weights;
  PromptWeights *w = &p->weights;
  const Part part[PARTS] = {{"text", own->text, &w->text},
                            {"image", own->image, &w->image},
                            {"logit", own->logit, &w->logit},
                            {"aux", own->aux, &w->aux}};
  memcpy(out, part, sizeof part);
}

/* "text, image"; "": the loss has no parts. */
static const char *part_names(const Part part[PARTS], Arena *a) {
  Str s = {.arena = a};
  for (size_t i = 0; i < PARTS; i++)
    if (part[i].own != 0) str_printf(&s, "%s%s", s.n > 0 ? ", " : "", part[i].name);
  return str_text(&s);
}

/* item: "text=20".  A weight of 0 fits a loss without that part. */
static VlStatus set_weight(const PromptMethod *m, const Part part[PARTS], char *item, Arena *a,
                           Diag *d) {
  char *value = strchr(item, '=');
  double x = -1;
  bool number = value != NULL && parse_f64(value + 1, &x) && x >= 0 && x <= WEIGHT_MOST;
  size_t n = value != NULL ? (size_t)(value - item) : 0;
  for (size_t i = 0; number && i < PARTS; i++) {
    if (strlen(part[i].name) != n || memcmp(part[i].name, item, n) != 0) continue;
    if (part[i].own == 0 && x != 0) break;
    *part[i].at = part[i].own != 0 ? x : 0;
    return VLPC_OK;
  }
  const char *own = part_names(part, a);
  VlStatus s = diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE,
                          "the loss of %s cannot be weighted so", m->name);
  diag_found(d, "'%s'", item);
  diag_expected(d, "%s%s", *own ? "NAME=WEIGHT from 0 to 1e6, of " : "no weights", own);
  return s;
}

static VlStatus plan_weights(const PromptOptions *o, Arena *a, Diag *d, PromptPlan *p) {
  Part part[PARTS];
  char *text = arena_strdup(a, o->loss_weights != NULL ? o->loss_weights : ""), *rest = NULL;
  p->weights = p->method->weights;
  parts_of(p, part);
  for (char *item = strtok_r(text, " ", &rest); item != NULL; item = strtok_r(NULL, " ", &rest))
    VL_TRY(set_weight(p->method, part, item, a, d));
  if (*part_names(part, a))
    p->weights_text = arena_printf(a, TRAIN_WEIGHTS, p->weights.text, p->weights.image,
                                   p->weights.logit, p->weights.aux);
  return VLPC_OK;
}

VlStatus prompt_plan(const PromptOptions *o, Arena *a, Diag *d, PromptPlan *p) {
  const PromptMethod *m = NULL;
  VL_TRY(find_method(o->method, d, &m));
  VL_TRY(check_host(&o->host, d));
  VL_TRY(check_taken(o, m, a, d));
  *p = (PromptPlan){.method = m, .host = o->host, .seed = o->seed};
  int64_t layers = o->host.vision_layers;
  if (m->text.depth > 1) layers = VL_MIN(layers, o->host.text_layers);
  p->text = (PromptRows){given(o->length, m->text.rows),
                         depth_of(o->depth, &m->text, o->host.text_layers)};
  p->vision = (PromptRows){given(o->vision_length, given(o->length, m->vision.rows)),
                           depth_of(given(o->vision_depth, o->depth), &m->vision, layers)};
  if (m->text.rows == 0) p->text.rows = 0;
  if (m->vision.rows == 0) p->vision.rows = 0;
  VL_TRY(plan_weights(o, a, d, p));
  VL_TRY(plan_phrase(o, d, p));
  VL_TRY(plan_text(o, d, p));
  VL_TRY(plan_vision(d, p));
  return plan_counts(o, d, p);
}
