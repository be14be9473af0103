/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_classify.c - vlpc classify. */
#include <stdlib.h>
#include <string.h>

#include "cli/images.h"
#include "cli/json.h"
#include "cli/prompt_sets.h"
#include "cli/templates.h"

typedef struct {
  float p;
  uint32_t label;
} Scored;

typedef struct {
  Cli *c;
  Json *json;
  Texts labels;
  Scored *scored; /* of one image, a row for each label */
  Expect expect;
  int64_t top;
  uint32_t counted, right1, right5; /* images with an expected label */
} Classify;

/* How many labels are likelier than label k; of equal ones the first wins. */
static uint32_t rank_of(const float *row, uint32_t n, uint32_t k) {
  uint32_t rank = 0;
  for (uint32_t i = 0; i < n; i++) rank += row[i] > row[k] || (row[i] == row[k] && i < k);
  return rank;
}

static int by_score(const void *a, const void *b) {
  const Scored *x = a, *y = b;
  if (x->p != y->p) return x->p > y->p ? -1 : 1;
  return (x->label > y->label) - (x->label < y->label);
}

static void print_text(Classify *k, const char *path, const Scored *s) {
  printf("%s\n", path);
  for (int64_t i = 0; i < k->top; i++)
    printf("  %5.1f %%  %s\n", 100.0 * (double)s[i].p, k->labels.at[s[i].label]);
}

static void print_json(Classify *k, const char *path, const Scored *s) {
  js_object(k->json, NULL);
  js_text(k->json, "file", path);
  js_list(k->json, "top");
  for (int64_t i = 0; i < k->top; i++) {
    js_object(k->json, NULL);
    js_text(k->json, "label", k->labels.at[s[i].label]);
    js_int(k->json, "index", s[i].label);
    js_real(k->json, "probability", (double)s[i].p);
    js_end(k->json);
  }
  js_end(k->json);
  js_end(k->json);
}

static VlStatus take(void *user, uint32_t i, const char *path, const float *row) {
  Classify *k = user;
  (void)i;
  uint32_t n = k->labels.n;
  int32_t want = expect_find(k->c, &k->expect, path);
  if (want >= 0) {
    uint32_t rank = rank_of(row, n, (uint32_t)want);
    k->counted++, k->right1 += rank == 0, k->right5 += rank < 5;
  }
  Scored *s = k->scored;
  for (uint32_t l = 0; l < n; l++) s[l] = (Scored){row[l], l};
  qsort(s, n, sizeof *s, by_score);
  if (k->json != NULL)
    print_json(k, path, s);
  else if (k->top > 0)
    print_text(k, path, s);
  return VLPC_OK;
}

static void print_accuracy(Classify *k) {
  if (!opt_given(k->c, expect)) return;
  double n = k->counted > 0 ? k->counted : 1, top1 = k->right1 / n, top5 = k->right5 / n;
  if (k->json == NULL) {
    printf("accuracy: top-1 %.2f %%, top-5 %.2f %% of %u images\n", 100 * top1, 100 * top5,
           k->counted);
    return;
  }
  js_object(k->json, "accuracy");
  js_int(k->json, "images", k->counted);
  js_real(k->json, "top1", top1);
  js_real(k->json, "top5", top5);
  js_end(k->json);
}

static VlStatus check_expect(Cli *c, const Classify *k) {
  if (!opt_given(c, expect) || k->counted > 0) return VLPC_OK;
  return diag_error(c->diag, DIAG_EXPECT_FILE, (DiagAt){opt(c, expect), NULL},
                    "has no row for any of the images");
}

/* The classes that the artifact was packed with. */
static Texts labels_of_artifact(Cli *c, const Model *m) {
  const char **name = arena_array(c->arena, const char *, m->info.n_classes);
  for (uint32_t i = 0; i < m->info.n_classes; i++) name[i] = vlpc_artifact_class(m->artifact, i);
  return (Texts){name, m->info.n_classes};
}

/* Whether the artifact opens and has classes of its own. */
static bool is_packed(const char *path) {
  vlpc_artifact *a = NULL;
  vlpc_artifact_info info = {.struct_size = sizeof info};
  bool packed = vlpc_artifact_open(path, NULL, &a) == VLPC_OK &&
                vlpc_artifact_get_info(a, &info) && info.n_classes > 0;
  vlpc_artifact_close(a);
  return packed;
}

/* Labels that options give, or must give because nothing else can. */
static bool labels_given(Cli *c) {
  return opt_given(c, labels) || opt_given(c, labels_file) || opt_given(c, classes) ||
         (!opt_given(c, prompts) && !is_packed(c->arg[0]));
}

/* Labels, and what is expected of the photos; m is NULL before the model is open. */
static VlStatus ready_labels(Cli *c, const Model *m, Classify *k) {
  if (labels_given(c) != (m == NULL)) return VLPC_OK;
  if (m != NULL && m->info.n_classes > 0) k->labels = labels_of_artifact(c, m);
  else if (m != NULL && opt_given(c, prompts)) VL_TRY(labels_of_set(c, m, &k->labels));
  else VL_TRY(read_labels(c, &k->labels));
  return opt_given(c, expect) ? read_expect(c, opt(c, expect), &k->labels, &k->expect) : VLPC_OK;
}

VlStatus cmd_classify(Cli *c) {
  Classify k = {.c = c};
  TextList images = {0};
  Model m;
  VL_TRY(opt_int(c, OPT_top, (int64_t[]){0, INT32_MAX}, opt_given(c, expect) ? 0 : 5, &k.top));
  const char *prompt = NULL, *plain = opt_given(c, prompts) ? NULL : "a photo of a {}.";
  VL_TRY(read_template(c, plain, &prompt)); /* NULL: the prompt set's own */
  VL_TRY(ready_labels(c, NULL, &k));
  VL_TRY(list_images(c, c->arg + 1, c->n_args - 1, &images));
  VL_TRY(model_open(c, c->arg[0], &m));
  VL_TRY(ready_labels(c, &m, &k));
  k.top = VL_MIN(k.top, (int64_t)k.labels.n);
  k.scored = arena_array(c->arena, Scored, k.labels.n);
  if (m.info.n_classes > 0 && !labels_given(c)) prompt = NULL;
  else VL_TRY(fail_session(c, &m, vlpc_set_labels(m.session, k.labels.at, k.labels.n, prompt)));
  Json j = js_start(c);
  js_text(&j, "template", prompt);
  js_list(&j, "images");
  if (c->json) k.json = &j;
  ImageWalk w = {.c = c,
                 .model = &m,
                 .team = &TEAM_ALONE,
                 .fn = vlpc_classify,
                 .width = k.labels.n,
                 .what = "classified",
                 .take = take,
                 .user = &k};
  VL_TRY(images_walk(&w, &images));
  VL_TRY(check_expect(c, &k));
  js_end(&j);
  js_int(&j, "skipped", w.skipped);
  print_accuracy(&k);
  if (c->json) js_print(&j);
  return VLPC_OK;
}
