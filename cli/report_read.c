/* SPDX-License-Identifier: Apache-2.0 */
/* report_read.c - the configuration and the metrics of a run's folder. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/prompt_sets.h"
#include "cli/report.h"

VlStatus bad_figures(Diag *d, const char *path, const char *place, const char *what) {
  return diag_error(d, DIAG_RUN_FIGURES, (DiagAt){path, place}, "%s", what);
}

/* ---- metrics ----------------------------------------------------------------- */

typedef struct {
  Cli *c;
  const char *path, *place;
  uint64_t step; /* of the line before */
  SeriesList *out;
} Lines;

static VlStatus find_series(Lines *l, const char *name, Series **out) {
  for (uint32_t i = 0; i < l->out->n; i++)
    if (strcmp(l->out->at[i].name, name) == 0) {
      *out = &l->out->at[i];
      return VLPC_OK;
    }
  if (l->out->n == REPORT_SERIES_MAX)
    return bad_figures(l->c->diag, l->path, l->place, "there are more than 64 kinds of figures");
  *out = vec_push(l->c->arena, l->out);
  **out = (Series){.name = arena_strdup(l->c->arena, name)};
  return VLPC_OK;
}

/* A step may have several lines, of different figures. */
static VlStatus take_step(Lines *l, json_t *object) {
  json_t *step = json_object_get(object, "step");
  json_int_t v = json_integer_value(step);
  if (json_is_integer(step) && v > 0 && (uint64_t)v >= l->step) {
    l->step = (uint64_t)v;
    return VLPC_OK;
  }
  VlStatus s = bad_figures(l->c->diag, l->path, l->place, "its step does not follow");
  if (json_is_integer(step)) diag_found(l->c->diag, "%" JSON_INTEGER_FORMAT, v);
  diag_expected(l->c->diag, "a whole number, %" PRIu64 " or more", VL_MAX(l->step, 1));
  return s;
}

static VlStatus take_figures(Lines *l, json_t *object) {
  const char *key;
  json_t *value;
  VL_TRY(take_step(l, object));
  json_object_foreach(object, key, value) {
    Series *x = NULL;
    if (strcmp(key, "step") == 0 || strcmp(key, "epoch") == 0 || strcmp(key, "wall") == 0) continue;
    if (!json_is_number(value) && !json_is_null(value)) {
      VlStatus s = bad_figures(l->c->diag, l->path, l->place, "a figure is no number");
      diag_found(l->c->diag, "the value of '%s'", key);
      return s;
    }
    VL_TRY(find_series(l, key, &x));
    if (x->point.n > 0 && x->point.at[x->point.n - 1].step == l->step) {
      VlStatus s = bad_figures(l->c->diag, l->path, l->place, "a figure of a step stands twice");
      diag_found(l->c->diag, "'%s' of step %" PRIu64, x->name, l->step);
      return s;
    }
    double v = json_is_null(value) ? (double)NAN : json_number_value(value);
    *vec_push(l->c->arena, &x->point) = (Point){l->step, v};
  }
  return VLPC_OK;
}

static VlStatus take_line(Lines *l, const char *text, size_t n) {
  json_error_t error;
  json_t *object = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  VlStatus s;
  if (json_is_object(object)) {
    s = take_figures(l, object);
  } else {
    s = bad_figures(l->c->diag, l->path, l->place, "this is not a JSON object");
    if (!object) diag_found(l->c->diag, "%s", error.text);
    diag_fix(l->c->diag, "take the line out of the file");
  }
  json_decref(object);
  return s;
}

static VlStatus read_metrics(Cli *c, const char *path, SeriesList *out) {
  uint8_t *bytes = NULL;
  size_t n;
  char place[32];
  Lines l = {c, path, place, 0, out};
  VL_TRY(io_read(path, REPORT_FILE_MAX, c->arena, c->diag, &bytes, &n));
  const char *at = (const char *)bytes, *behind = at + n;
  for (uint64_t line = 1; at < behind; line++) {
    const char *end = memchr(at, '\n', (size_t)(behind - at));
    if (!end) return VLPC_OK; /* a run was killed while it wrote this */
    snprintf(place, sizeof place, "line %" PRIu64, line);
    VL_TRY(take_line(&l, at, (size_t)(end - at)));
    at = end + 1;
  }
  return VLPC_OK;
}

/* ---- the folder ---------------------------------------------------------------- */

static VlStatus read_config(Cli *c, const char *path, Report *out) {
  uint8_t *text;
  size_t n;
  VL_TRY(io_read(path, CONFIG_FILE_MAX, c->arena, c->diag, &text, &n));
  VL_TRY(config_recipe(config_recipes()[0], c->arena, c->diag, &out->config));
  out->config_text = (const char *)text;
  return config_parse(&out->config, out->config_text, path, c->arena, c->diag);
}

static bool is_there(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

/* what: "which every run has" */
static VlStatus need(Cli *c, const char *path, const char *what, const char *fix) {
  if (is_there(path)) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_OPEN, (DiagAt){path, NULL}, "there is no such file, %s",
                          what);
  diag_fix(c->diag, "%s", fix);
  return s;
}

static VlStatus open_run(Cli *c, const char *run, RunModel *out) {
  const char *set = arena_printf(c->arena, "%s/prompts.safetensors", run);
  const char *artifact = opt(c, for_artifact);
  *out = (RunModel){.file = NULL};
  if (artifact == NULL) artifact = arena_printf(c->arena, "%s/model.vlpc", run);
  if (opt_given(c, photos)) {
    VL_TRY(need(c, set, "which --photos needs", "let the run come to its end (--resume)"));
    VL_TRY(need(c, artifact, "which --photos needs", "name the run's artifact with --for"));
  }
  if (!is_there(set) || (!opt_given(c, for_artifact) && !is_there(artifact))) return VLPC_OK;
  out->file = artifact;
  return open_fitting(c, artifact, set, &out->m, &out->set);
}

VlStatus report_read(Cli *c, const char *run, Report *out) {
  const char *config = arena_printf(c->arena, "%s/config.yaml", run);
  const char *metrics = arena_printf(c->arena, "%s/metrics.jsonl", run);
  const char *scores = arena_printf(c->arena, "%s/eval.json", run);
  static const char every[] = "which every run has";
  static const char fix[] = "name the folder that vlpc train wrote into";
  RunModel model;
  *out = (Report){.run = run};
  VL_TRY(need(c, config, every, fix));
  VL_TRY(need(c, metrics, every, fix));
  VL_TRY(read_config(c, config, out));
  VL_TRY(read_metrics(c, metrics, &out->series));
  VL_TRY(report_read_scores(c, scores, &out->evaluation));
  VL_TRY(open_run(c, run, &model));
  if (model.file == NULL) return VLPC_OK;
  VL_TRY(report_read_words(c, &model, &out->words));
  return opt_given(c, photos) ? report_read_looks(c, &model, &out->looks) : VLPC_OK;
}
