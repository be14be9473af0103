/* SPDX-License-Identifier: Apache-2.0 */
/* report_scores.c - reads what vlpc eval -o wrote.
**
** A list is walked by one function for each kind of its elements; the first fault ends it
** and names the key. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/report.h"

typedef struct {
  Cli *c;
  const char *path;
} Reader;

static VlStatus fail(const Reader *r, const char *key, const char *expected) {
  VlStatus s = bad_figures(r->c->diag, r->path, key, "this is not what vlpc eval writes");
  diag_expected(r->c->diag, "%s", expected);
  diag_fix(r->c->diag, "write it once more: vlpc eval … -o %s", r->path);
  return s;
}

static VlStatus list(const Reader *r, json_t *of, const char *key, json_t **out) {
  *out = json_object_get(of, key);
  return json_is_array(*out) && json_array_size(*out) < UINT32_MAX ? VLPC_OK
                                                                   : fail(r, key, "a list");
}

static VlStatus text(const Reader *r, json_t *of, const char *key, const char **out) {
  *out = json_string_value(json_object_get(of, key));
  return *out ? VLPC_OK : fail(r, key, "a text");
}

static VlStatus count(const Reader *r, json_t *v, const char *key, uint64_t *out) {
  json_int_t n = json_integer_value(v);
  *out = (uint64_t)n;
  return json_is_integer(v) && n >= 0 && n <= UINT32_MAX ? VLPC_OK
                                                         : fail(r, key, "a count of photos");
}

static VlStatus real(const Reader *r, json_t *of, const char *key, double most, double *out) {
  json_t *v = json_object_get(of, key);
  *out = json_number_value(v);
  if (json_is_number(v) && *out >= 0 && *out <= most) return VLPC_OK;
  return fail(r, key, most > 1 ? "a number that is not below 0" : "a number from 0 to 1");
}

/* A number from 0 to 1; NaN where it is absent or null. */
static VlStatus maybe(const Reader *r, json_t *of, const char *key, double *out) {
  json_t *v = json_object_get(of, key);
  *out = (double)NAN;
  return v && !json_is_null(v) ? real(r, of, key, 1, out) : VLPC_OK;
}

/* ---- parts ------------------------------------------------------------------- */

static VlStatus read_class(const Reader *r, json_t *of, uint32_t n_classes, ClassScore *out) {
  json_t *answers;
  VL_TRY(text(r, of, "name", &out->name));
  VL_TRY(maybe(r, of, "accuracy", &out->accuracy));
  VL_TRY(list(r, of, "answers", &answers));
  if (json_array_size(answers) != n_classes)
    return fail(r, "answers", "a count for each of the classes");
  uint64_t *at = arena_array(r->c->arena, uint64_t, n_classes);
  for (uint32_t i = 0; i < n_classes; i++) {
    VL_TRY(count(r, json_array_get(answers, i), "answers", &at[i]));
    out->photos += at[i];
  }
  out->answers = at;
  return VLPC_OK;
}

static VlStatus read_bin(const Reader *r, json_t *of, BinScore *out) {
  VL_TRY(count(r, json_object_get(of, "photos"), "photos", &out->photos));
  VL_TRY(real(r, of, "confidence", 1, &out->confidence));
  return real(r, of, "accuracy", 1, &out->accuracy);
}

static VlStatus read_lists(const Reader *r, json_t *of, PartScore *out) {
  json_t *classes, *bins;
  uint64_t photos = 0;
  VL_TRY(list(r, of, "classes", &classes));
  VL_TRY(list(r, of, "calibration", &bins));
  out->n_classes = (uint32_t)json_array_size(classes);
  out->n_bins = (uint32_t)json_array_size(bins);
  out->class = arena_array(r->c->arena, ClassScore, out->n_classes);
  out->bin = arena_array(r->c->arena, BinScore, out->n_bins);
  for (uint32_t i = 0; i < out->n_classes; i++) {
    VL_TRY(read_class(r, json_array_get(classes, i), out->n_classes, &out->class[i]));
    photos += out->class[i].photos;
  }
  for (uint32_t i = 0; i < out->n_bins; i++)
    VL_TRY(read_bin(r, json_array_get(bins, i), &out->bin[i]));
  return photos == out->photos ? VLPC_OK : fail(r, "photos", "as many as the answers are");
}

static VlStatus read_part(const Reader *r, json_t *of, PartScore *out) {
  VL_TRY(text(r, of, "classes_of", &out->classes_of));
  VL_TRY(count(r, json_object_get(of, "photos"), "photos", &out->photos));
  VL_TRY(real(r, of, "top1", 1, &out->top1));
  VL_TRY(real(r, of, "top5", 1, &out->top5));
  VL_TRY(real(r, of, "macro_f1", 1, &out->macro_f1));
  VL_TRY(real(r, of, "ece", 1, &out->ece));
  VL_TRY(real(r, of, "loss", HUGE_VAL, &out->loss));
  return read_lists(r, of, out);
}

/* ---- the file ---------------------------------------------------------------- */

static VlStatus read_set(const Reader *r, json_t *of, SetScore *out) {
  json_t *parts, *prompts = json_object_get(of, "prompts");
  if (!json_is_null(prompts)) VL_TRY(text(r, of, "prompts", &out->prompts));
  VL_TRY(list(r, of, "parts", &parts));
  out->n_parts = (uint32_t)json_array_size(parts);
  out->part = arena_array(r->c->arena, PartScore, out->n_parts);
  for (uint32_t i = 0; i < out->n_parts; i++)
    VL_TRY(read_part(r, json_array_get(parts, i), &out->part[i]));
  return maybe(r, of, "harmonic_mean", &out->harmonic_mean);
}

static VlStatus read_sets(const Reader *r, json_t *root, Evaluation *out) {
  json_t *sets;
  VL_TRY(text(r, root, "split", &out->split));
  VL_TRY(list(r, root, "sets", &sets));
  out->n_sets = (uint32_t)json_array_size(sets);
  out->set = arena_array(r->c->arena, SetScore, out->n_sets);
  for (uint32_t i = 0; i < out->n_sets; i++)
    VL_TRY(read_set(r, json_array_get(sets, i), &out->set[i]));
  VL_TRY(maybe(r, root, "mean", &out->mean));
  return maybe(r, root, "sd", &out->sd);
}

static void free_json(void *p) { json_decref(p); }

VlStatus report_read_scores(Cli *c, const char *path, Evaluation *out) {
  Reader r = {c, path};
  struct stat st;
  json_error_t error;
  uint8_t *bytes = NULL;
  size_t n;
  *out = (Evaluation){0};
  if (stat(path, &st) != 0) return VLPC_OK;
  VL_TRY(io_read(path, REPORT_FILE_MAX, c->arena, c->diag, &bytes, &n));
  json_t *root = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &error);
  if (root) {
    arena_defer(c->arena, free_json, root);
    return read_sets(&r, root, out);
  }
  char place[48];
  snprintf(place, sizeof place, "line %d, byte %d", error.line, error.position);
  VlStatus s = fail(&r, place, "one JSON object");
  diag_found(c->diag, "%s", error.text);
  return s;
}
