/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_eval.c - vlpc eval: how prompt sets do on photos that have labels.
**
** A set is evaluated on all classes, or on base and new ones apart, of which the harmonic
** mean is taken; several sets give mean and standard deviation.  Nothing is learned.
** Processes that mpirun started share the photos out; the first tells. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/json.h"
#include "cli/prompt_sets.h"
#include "cli/team.h"
#include "cli/templates.h"
#include "train/evaluate.h"
#include "train/sample.h"

enum { PARTS_MAX = 2 };

typedef struct {
  const char *name; /* "all", "base", "new" */
  Dataset data;
  float *features; /* of its photos, where prompts do not change them */
  bool has;
} Part;

typedef struct {
  Cli *c;
  Team team;
  Model m;
  SplitId split;
  const char *pattern;
  int64_t batch;
  char data_hash[33]; /* where there is a team */
  Part part[PARTS_MAX];
  uint32_t n_parts;
  uint32_t n_sets;
  double *figure; /* of each set: accuracy, or the harmonic mean */
  bool lines; /* are printed: without --json, by the first process */
  Json *json; /* what is printed with --json, or written with -o; NULL: neither */
} Eval;

/* ---- photos ------------------------------------------------------------------ */

static VlStatus read_split(Eval *e, const Dataset *d) {
  const char *asked = opt(e->c, split);
  e->split = d->split[SPLIT_test].n ? SPLIT_test : d->split[SPLIT_val].n ? SPLIT_val : SPLIT_train;
  for (int i = 0; asked && i < SPLIT__COUNT; i++)
    if (strcmp(asked, split_name((SplitId)i)) == 0) e->split = (SplitId)i;
  if (d->split[e->split].n > 0) return VLPC_OK;
  VlStatus s = diag_error(e->c->diag, DIAG_DATA_SPLIT, (DiagAt){opt(e->c, data), NULL},
                          "the %s split has no photos", split_name(e->split));
  diag_fix(e->c->diag, "name another with --split, or give a folder that has it");
  return s;
}

static VlStatus add_part(Eval *e, const Dataset *all, ClassPart which) {
  Part *p = &e->part[e->n_parts++];
  *p = (Part){.name = class_part_name(which), .data = *all};
  if (which != CLASSES_all)
    VL_TRY(sample_classes(all, which, e->c->arena, e->c->diag, &p->data));
  uint64_t n = p->data.split[e->split].n;
  if (evaluate_keeps_images(e->m.artifact))
    p->features = arena_array(e->c->arena, float, n * (uint64_t)(uint32_t)e->m.info.embed_dim);
  return VLPC_OK;
}

static VlStatus read_photos(Eval *e) {
  Cli *c = e->c;
  Dataset all;
  DatasetSource from = {opt(c, data), opt(c, data_root)};
  const char *of = opt_given(c, classes_of) ? opt(c, classes_of) : "all";
  VL_TRY(dataset_open(&from, c->arena, c->diag, &all));
  if (e->team.size > 1) dataset_hash(&all, c->arena, e->data_hash);
  VL_TRY(read_split(e, &all));
  if (strcmp(of, "all") == 0) return add_part(e, &all, CLASSES_all);
  if (strcmp(of, "new") != 0) VL_TRY(add_part(e, &all, CLASSES_base));
  return strcmp(of, "base") != 0 ? add_part(e, &all, CLASSES_new) : VLPC_OK;
}

/* ---- figures ------------------------------------------------------------------ */

static void print_text(const Eval *e, const Part *p, const Scores *x) {
  printf("  %-5s %" PRIu64 " photos, %" PRIu32 " classes: accuracy %.2f %%, top 5 %.2f %%, "
         "macro F1 %.2f %%, calibration error %.2f %%, loss %.4f\n",
         p->name, x->n, x->n_classes, 100 * x->top1, 100 * x->top5, 100 * x->macro_f1,
         100 * x->ece, x->loss);
  if (!opt_given(e->c, per_class)) return;
  for (uint32_t i = 0; i < x->n_classes; i++)
    if (!isnan(x->class_accuracy[i]))
      printf("    %6.2f %%  %s\n", 100 * x->class_accuracy[i], p->data.classes[i]);
}

/* The mean probability of the answers in each bin that has any, and how many were right. */
static void print_bins(Json *j, const Scores *x) {
  js_list(j, "calibration");
  for (int b = 0; b < ECE_BINS; b++) {
    const ScoreBin *bin = &x->bin[b];
    if (bin->n == 0) continue;
    js_object(j, NULL);
    js_int(j, "photos", (int64_t)bin->n);
    js_real(j, "confidence", bin->confidence / (double)bin->n);
    js_real(j, "accuracy", (double)bin->right / (double)bin->n);
    js_end(j);
  }
  js_end(j);
}

static void print_json(const Eval *e, const Part *p, const Scores *x) {
  Json *j = e->json;
  js_object(j, NULL);
  js_text(j, "classes_of", p->name);
  js_int(j, "photos", (int64_t)x->n);
  js_real(j, "top1", x->top1);
  js_real(j, "top5", x->top5);
  js_real(j, "macro_f1", x->macro_f1);
  js_real(j, "ece", x->ece);
  js_real(j, "loss", x->loss);
  js_list(j, "classes");
  for (uint32_t i = 0; i < x->n_classes; i++) {
    js_object(j, NULL);
    js_text(j, "name", p->data.classes[i]);
    js_real(j, "accuracy", x->class_accuracy[i]);
    js_list(j, "answers");
    for (uint32_t k = 0; k < x->n_classes; k++)
      js_int(j, NULL, (int64_t)x->confusion[(uint64_t)i * x->n_classes + k]);
    js_end(j);
    js_end(j);
  }
  js_end(j);
  print_bins(j, x);
  js_end(j);
}

static VlStatus evaluate_part(Eval *e, Part *p, Scores *out) {
  Cli *c = e->c;
  vlpc_team team = team_to_train(&e->team);
  EvaluateSpec spec = {.artifact = e->m.artifact, .session = e->m.session, .data = &p->data,
                       .split = e->split, .batch = (uint32_t)e->batch, .features = p->features,
                       .has = p->features ? &p->has : NULL,
                       .team = team.size > 1 ? &team : NULL};
  spec.ready = vlpc_set_labels(e->m.session, p->data.classes, p->data.n_classes, e->pattern);
  VlStatus s = evaluate(&spec, c->arena, c->diag, out);
  if (s != VLPC_OK && diag_count(c->diag) == 0) s = fail_session(c, &e->m, s);
  return team_agree(&e->team, c, s, NULL);
}

static VlStatus evaluate_set(Eval *e, const char *name) {
  double top1[PARTS_MAX] = {0};
  if (e->json) {
    js_object(e->json, NULL);
    js_text(e->json, "prompts", name);
    js_list(e->json, "parts");
  }
  if (e->lines)
    printf("%s, %s split\n", name ? name : e->c->arg[0], split_name(e->split));
  for (uint32_t i = 0; i < e->n_parts; i++) {
    Scores x;
    VL_TRY(evaluate_part(e, &e->part[i], &x));
    if (e->json) print_json(e, &e->part[i], &x);
    if (e->lines) print_text(e, &e->part[i], &x);
    top1[i] = x.top1;
  }
  double mean = e->n_parts > 1 ? harmonic_mean(top1[0], top1[1]) : top1[0];
  if (e->json) js_end(e->json);
  if (e->json && e->n_parts > 1) js_real(e->json, "harmonic_mean", mean);
  if (e->json) js_end(e->json);
  if (e->lines && e->n_parts > 1)
    printf("  harmonic mean of base and new: %.2f %%\n", 100 * mean);
  e->figure[e->n_sets++] = mean;
  return VLPC_OK;
}

/* ---- sets ----------------------------------------------------------------------- */

/* A run's folder stands for its result. */
static const char *set_file(Cli *c, const char *path) {
  struct stat st;
  bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  return folder ? arena_printf(c->arena, "%s/prompts.safetensors", path) : path;
}

static VlStatus use_set(Eval *e, const char *path) {
  VL_TRY(open_prompts(e->c, path, &e->m.prompts));
  return fail_session(e->c, &e->m, vlpc_session_set_prompts(e->m.session, e->m.prompts));
}

static VlStatus evaluate_sets(Eval *e) {
  Cli *c = e->c;
  e->figure = arena_array(c->arena, double, c->n_args);
  if (c->n_args == 1) return evaluate_set(e, opt(c, prompts));
  for (uint32_t i = 1; i < c->n_args; i++) {
    const char *path = set_file(c, c->arg[i]);
    VL_TRY(team_agree(&e->team, c, use_set(e, path), NULL));
    VL_TRY(evaluate_set(e, path));
  }
  return VLPC_OK;
}

static void print_mean(const Eval *e) {
  double mean, sd;
  if (e->n_sets < 2) return;
  mean_and_sd(e->figure, e->n_sets, &mean, &sd);
  if (e->json) {
    js_real(e->json, "mean", mean);
    js_real(e->json, "sd", sd);
  }
  if (e->lines)
    printf("mean of %" PRIu32 " sets: %.2f ± %.2f %%\n", e->n_sets, 100 * mean, 100 * sd);
}

/* The first process alone. */
static VlStatus finish(Eval *e) {
  Cli *c = e->c;
  if (e->team.rank > 0) return VLPC_OK;
  print_mean(e);
  if (opt_given(c, output_scores)) VL_TRY(js_write(e->json, opt(c, output_scores), c->diag));
  if (c->json) js_print(e->json);
  return VLPC_OK;
}

static VlStatus ready(Eval *e) {
  Cli *c = e->c;
  VL_TRY(model_open(c, c->arg[0], &e->m));
  return read_photos(e);
}

/* All processes get the same status. */
static VlStatus eval(Eval *e) {
  Cli *c = e->c;
  Json j = {0};
  VL_TRY(team_agree(&e->team, c, ready(e), NULL));
  VL_TRY(team_same(&e->team, c, hash_128(e->data_hash, strlen(e->data_hash), 0), "photos"));
  e->lines = !c->json && e->team.rank == 0;
  if (c->json || opt_given(c, output_scores)) {
    j = js_start(c);
    e->json = &j;
    js_text(&j, "split", split_name(e->split));
    js_list(&j, "sets");
  }
  VL_TRY(evaluate_sets(e));
  if (e->json) js_end(&j);
  return team_agree(&e->team, c, finish(e), NULL);
}

VlStatus cmd_eval(Cli *c) {
  Eval *e = arena_one(c->arena, Eval);
  e->c = c;
  VL_TRY(opt_int(c, OPT_batch, (int64_t[]){1, 65536}, 32, &e->batch));
  VL_TRY(read_template(c, NULL, &e->pattern));
  VL_TRY(opt_need(c, OPT_data));
  VL_TRY(team_start(c, &e->team));
  return eval(e);
}
