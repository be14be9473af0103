/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess_json.c - the three JSON forms of a Preprocess: Hugging Face's
** preprocessor_config.json, open_clip's preprocess_cfg, and vlpc's own text.
**
** A step that vlpc does not do is an error, never passed over: features of a
** photo that was prepared otherwise look plausible and are wrong. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "runtime/preprocess.h"

/* One document being read.  The first fault is reported and ends the reading. */
typedef struct {
  const char *name;
  Diag *diag;
  VlStatus st;
} Reader;

static bool failed(Reader *r) {
  return r->st != VLPC_OK;
}

static DiagAt at_key(Reader *r, char place[64], const char *key) {
  size_t n = strlen(key), m = VL_MIN(n, 40);
  memcpy(place, "key '", 5);
  memcpy(place + 5, key, m);
  memcpy(place + 5 + m, "'", 2);
  return (DiagAt){r->name, place};
}

static void bad_value(Reader *r, const char *key, const char *found, const char *expected) {
  char place[64];
  if (failed(r)) return;
  r->st = diag_error(r->diag, DIAG_PRE_VALUE, at_key(r, place, key), "this value cannot be used");
  diag_found(r->diag, "%s", found);
  diag_expected(r->diag, "%s", expected);
  diag_fix(r->diag, "correct the file, or leave the key out to take CLIP's value");
}

static void not_done(Reader *r, const char *key, const char *found, const char *expected) {
  char place[64];
  if (failed(r)) return;
  r->st = diag_error(r->diag, DIAG_PRE_KIND, at_key(r, place, key),
                     "vlpc does not prepare photos this way");
  diag_found(r->diag, "%s", found);
  diag_expected(r->diag, "%s", expected);
  diag_fix(r->diag, "prepare the pixels yourself and pass them as an array");
}

static const char *kind(const json_t *v) {
  static const char *const names[] = {"an object", "a list", "a string", "a whole number",
                                      "a number",  "true",   "false",    "null"};
  return v ? names[json_typeof(v)] : "nothing";
}

/* v when the key is there and not null. */
static json_t *get(const json_t *o, const char *key) {
  json_t *v = json_object_get(o, key);
  return json_is_null(v) ? NULL : v;
}

static bool get_bool(Reader *r, const json_t *o, const char *key, bool otherwise) {
  const json_t *v = get(o, key);
  if (!v) return otherwise;
  if (!json_is_boolean(v)) bad_value(r, key, kind(v), "true or false");
  return json_is_true(v);
}

static int32_t to_side(Reader *r, const json_t *v, const char *key) {
  json_int_t n = json_integer_value(v);
  if (json_is_integer(v) && n >= 1 && n <= PREPROCESS_MAX_SIDE) return (int32_t)n;
  bad_value(r, key, json_is_integer(v) ? "a whole number out of range" : kind(v),
            "a whole number from 1 to 4096");
  return 1;
}

static double to_number(Reader *r, const json_t *v, const char *key) {
  if (!json_is_number(v)) bad_value(r, key, kind(v), "a number");
  return json_number_value(v);
}

static void get_three(Reader *r, const json_t *o, const char *key, float out[3]) {
  const json_t *v = get(o, key);
  if (!v) return;
  if (!json_is_array(v) || json_array_size(v) != 3) {
    bad_value(r, key, json_is_array(v) ? "a list of another length" : kind(v),
              "a list of 3 numbers");
    return;
  }
  for (size_t i = 0; i < 3; i++) out[i] = (float)to_number(r, json_array_get(v, i), key);
}

static void check(Reader *r, const Preprocess *p) {
  for (int c = 0; c < 3; c++) {
    if (!isfinite(p->mean[c])) bad_value(r, "mean", "a value that is not finite", "finite values");
    if (!isfinite(p->std[c]) || !(p->std[c] > 0))
      bad_value(r, "std", "a value that is not above 0", "finite values above 0");
  }
  if (!p->crop && p->resize != RESIZE_exact)
    not_done(r, "do_center_crop", "no crop, so each photo has its own size",
             "a crop, or a size with height and width");
}

/* Hugging Face */

static bool is_clip_like(const json_t *o) {
  const char *type = json_string_value(get(o, "image_processor_type"));
  if (!type) type = json_string_value(get(o, "feature_extractor_type"));
  return !type || strstr(type, "CLIP");
}

static void hf_size(Reader *r, const json_t *o, Preprocess *p) {
  const json_t *v = get(o, "size");
  if (!v) return;
  if (json_is_object(v) && get(v, "shortest_edge")) {
    if (get(v, "longest_edge"))
      not_done(r, "size", "shortest_edge with longest_edge", "shortest_edge alone");
    p->width = p->height = to_side(r, get(v, "shortest_edge"), "size.shortest_edge");
  } else if (json_is_object(v)) {
    if (!get(v, "height") || !get(v, "width"))
      not_done(r, "size", "an object with other keys", "shortest_edge, or height and width");
    p->resize = RESIZE_exact;
    p->width = to_side(r, get(v, "width"), "size.width");
    p->height = to_side(r, get(v, "height"), "size.height");
  } else {
    if (!is_clip_like(o))
      not_done(r, "size", "one number, whose meaning depends on the image processor",
               "shortest_edge, or height and width");
    p->width = p->height = to_side(r, v, "size");
  }
}

static void hf_crop(Reader *r, const json_t *o, Preprocess *p) {
  const json_t *v = get(o, "crop_size");
  p->crop = get_bool(r, o, "do_center_crop", true);
  if (!v) return;
  if (json_is_object(v)) {
    p->crop_width = to_side(r, get(v, "width"), "crop_size.width");
    p->crop_height = to_side(r, get(v, "height"), "crop_size.height");
  } else {
    p->crop_width = p->crop_height = to_side(r, v, "crop_size");
  }
}

static void hf_filter(Reader *r, const json_t *o, Preprocess *p) {
  const json_t *v = get(o, "resample");
  if (!v) return;
  json_int_t n = json_integer_value(v);
  if (!json_is_integer(v) || (n != FILTER_bilinear && n != FILTER_bicubic))
    not_done(r, "resample", "another filter", "3 (bicubic) or 2 (bilinear)");
  else
    p->filter = (Filter)n;
}

static void hf_scale(Reader *r, const json_t *o, Preprocess *p) {
  const json_t *v = get(o, "rescale_factor");
  if (!get_bool(r, o, "do_rescale", true))
    p->divisor = 1.0f;
  else if (v && fabs(to_number(r, v, "rescale_factor") * 255.0 - 1.0) > 1e-6)
    not_done(r, "rescale_factor", "another factor", "1/255");
  if (!get_bool(r, o, "do_normalize", true)) {
    for (int c = 0; c < 3; c++) p->mean[c] = 0.0f, p->std[c] = 1.0f;
    return;
  }
  get_three(r, o, "image_mean", p->mean);
  get_three(r, o, "image_std", p->std);
}

/* Steps that other processors know (do_pad, do_flip_channel_order, …). */
static void hf_other_steps(Reader *r, json_t *o) {
  static const char *const known[] = {"do_resize", "do_center_crop", "do_rescale", "do_normalize",
                                      "do_convert_rgb"};
  const char *key;
  json_t *v;
  json_object_foreach(o, key, v) {
    bool is_known = false;
    for (size_t i = 0; i < VL_COUNT(known); i++) is_known |= strcmp(key, known[i]) == 0;
    if (strncmp(key, "do_", 3) == 0 && !is_known && json_is_true(v))
      not_done(r, key, "true", "false, or no such key");
  }
}

static void read_hf(Reader *r, json_t *o, Preprocess *p) {
  if (!get_bool(r, o, "do_resize", true))
    p->resize = RESIZE_none;
  else
    hf_size(r, o, p);
  hf_crop(r, o, p);
  hf_filter(r, o, p);
  hf_scale(r, o, p);
  hf_other_steps(r, o);
}

/* open_clip */

static void oc_size(Reader *r, const json_t *v, Preprocess *p) {
  if (json_is_array(v) && json_array_size(v) == 2) {
    p->height = to_side(r, json_array_get(v, 0), "size");
    p->width = to_side(r, json_array_get(v, 1), "size");
  } else {
    p->width = p->height = to_side(r, v, "size");
  }
  p->crop_width = p->width;
  p->crop_height = p->height;
}

static void oc_text(Reader *r, const json_t *o, const char *key, const char *one, const char *other,
                    bool *is_other) {
  const json_t *v = get(o, key);
  const char *s = json_string_value(v);
  *is_other = false;
  if (!v || (s && strcmp(s, one) == 0)) return;
  if (s && other && strcmp(s, other) == 0)
    *is_other = true;
  else
    not_done(r, key, s ? s : kind(v), one);
}

static void read_open_clip(Reader *r, const json_t *root, Preprocess *p) {
  const json_t *o = get(root, "preprocess_cfg"), *size = get(o, "size");
  bool other;
  if (!json_is_object(o)) {
    bad_value(r, "preprocess_cfg", kind(o), "an object");
    return;
  }
  if (!size) size = get(get(get(root, "model_cfg"), "vision_cfg"), "image_size");
  if (size) oc_size(r, size, p);
  oc_text(r, o, "mode", "RGB", NULL, &other);
  oc_text(r, o, "interpolation", "bicubic", "bilinear", &other);
  p->filter = other ? FILTER_bilinear : FILTER_bicubic;
  oc_text(r, o, "resize_mode", "shortest", "squash", &other);
  if (other)
    p->resize = RESIZE_exact;
  else if (p->width != p->height)
    not_done(r, "size", "a rectangle with resize_mode shortest", "a square");
  get_three(r, o, "mean", p->mean);
  get_three(r, o, "std", p->std);
}

/* vlpc's own text */

static const char *const rule_names[] = {"none", "short", "exact"};
static const char *const filter_names[] = {"bilinear", "bicubic"};

static void add_three(Str *s, const char *key, const float v[3]) {
  str_printf(s, ",\"%s\":[", key);
  for (int c = 0; c < 3; c++) {
    if (c) str_add(s, ",");
    str_f64(s, (double)v[c]);
  }
  str_add(s, "]");
}

void preprocess_to_text(const Preprocess *p, Str *s) {
  str_printf(s, "{\"resize\":\"%s\"", rule_names[p->resize]);
  if (p->resize != RESIZE_none)
    str_printf(s, ",\"width\":%d,\"height\":%d,\"filter\":\"%s\"", (int)p->width, (int)p->height,
               filter_names[p->filter == FILTER_bicubic]);
  if (p->crop) str_printf(s, ",\"crop\":[%d,%d]", (int)p->crop_width, (int)p->crop_height);
  str_printf(s, ",\"divisor\":%d", (int)p->divisor);
  add_three(s, "mean", p->mean);
  add_three(s, "std", p->std);
  str_add(s, "}");
}

/* Index of the text at key among n names; reports and gives 0 when it is none. */
static int pick(Reader *r, const json_t *o, const char *key, const char *const *names, int n) {
  const char *s = json_string_value(get(o, key));
  for (int i = 0; s && i < n; i++)
    if (strcmp(s, names[i]) == 0) return i;
  bad_value(r, key, s ? s : kind(get(o, key)), "a name that vlpc writes");
  return 0;
}

static void read_own(Reader *r, const json_t *o, Preprocess *p) {
  const json_t *crop = get(o, "crop");
  json_int_t divisor = json_integer_value(get(o, "divisor"));
  p->resize = (ResizeRule)pick(r, o, "resize", rule_names, 3);
  if (p->resize != RESIZE_none) {
    p->width = to_side(r, get(o, "width"), "width");
    p->height = to_side(r, get(o, "height"), "height");
    p->filter = pick(r, o, "filter", filter_names, 2) ? FILTER_bicubic : FILTER_bilinear;
  }
  p->crop = crop != NULL;
  if (crop) {
    p->crop_width = to_side(r, json_array_get(crop, 0), "crop");
    p->crop_height = to_side(r, json_array_get(crop, 1), "crop");
  }
  if (divisor != 1 && divisor != 255) bad_value(r, "divisor", "another number", "1 or 255");
  p->divisor = (float)divisor;
  if (!get(o, "mean") || !get(o, "std")) bad_value(r, "mean", "nothing", "mean and std");
  get_three(r, o, "mean", p->mean);
  get_three(r, o, "std", p->std);
}

/* Documents */

typedef enum { FORM_hf, FORM_open_clip, FORM_own } Form;

static VlStatus read_root(Reader *r, json_t *root, Form form, Preprocess *out) {
  Preprocess p = preprocess_clip(224);
  if (form == FORM_hf)
    read_hf(r, root, &p);
  else if (form == FORM_open_clip)
    read_open_clip(r, root, &p);
  else
    read_own(r, root, &p);
  check(r, &p);
  if (!failed(r)) *out = p;
  return r->st;
}

static VlStatus not_preprocessing(Reader *r, const char *found) {
  VlStatus st = diag_error(r->diag, DIAG_PRE_FORMAT, (DiagAt){r->name, NULL},
                           "this does not say how photos are prepared");
  diag_found(r->diag, "%s", found);
  diag_expected(r->diag, "preprocessor_config.json of Hugging Face, or an open_clip_config.json "
                         "with preprocess_cfg");
  diag_fix(r->diag, "name that file, or leave the option out to take CLIP's values");
  return st;
}

static json_t *parse(Reader *r, const void *bytes, size_t n) {
  json_error_t err;
  json_t *root = NULL;
  if (n > PREPROCESS_MAX_BYTES) {
    VL_IGNORE(not_preprocessing(r, "a file above 1 MiB"));
    return NULL;
  }
  root = json_loadb(bytes ? bytes : "", n, JSON_REJECT_DUPLICATES, &err);
  if (!root) {
    char place[64];
    snprintf(place, sizeof place, "line %d, column %d", err.line, err.column);
    VL_IGNORE(diag_error(r->diag, DIAG_PRE_FORMAT, (DiagAt){r->name, place}, "this is not JSON"));
    diag_found(r->diag, "%s", err.text);
    diag_fix(r->diag, "fetch the file again");
  } else if (!json_is_object(root)) {
    VL_IGNORE(not_preprocessing(r, kind(root)));
    json_decref(root);
    root = NULL;
  }
  return root;
}

VlStatus preprocess_parse(const void *bytes, size_t n, const char *name, Diag *d, Preprocess *out) {
  static const char *const hf_keys[] = {"image_mean", "image_std",  "size",
                                        "crop_size",  "do_resize",  "image_processor_type",
                                        "resample",   "do_rescale", "feature_extractor_type"};
  Reader r = {name, d, VLPC_OK};
  json_t *root = parse(&r, bytes, n);
  if (!root) return VLPC_E_BAD_FILE;
  bool hf = false;
  VlStatus st;
  for (size_t i = 0; i < VL_COUNT(hf_keys); i++) hf |= json_object_get(root, hf_keys[i]) != NULL;
  if (json_object_get(root, "preprocess_cfg"))
    st = read_root(&r, root, FORM_open_clip, out);
  else if (hf)
    st = read_root(&r, root, FORM_hf, out);
  else
    st = not_preprocessing(&r, "an object without any of their keys");
  json_decref(root);
  return st;
}

VlStatus preprocess_from_text(const void *bytes, size_t n, const char *name, Diag *d,
                              Preprocess *out) {
  Reader r = {name, d, VLPC_OK};
  json_t *root = parse(&r, bytes, n);
  if (!root) return VLPC_E_BAD_FILE;
  VlStatus st = read_root(&r, root, FORM_own, out);
  json_decref(root);
  return st;
}

static bool is_folder(const char *path) {
  struct stat sb;
  return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

static const char *find_file(const char *path, Arena *a) {
  static const char *const names[] = {"preprocessor_config.json", "open_clip_config.json"};
  struct stat sb;
  if (!is_folder(path)) return path;
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    const char *full = arena_printf(a, "%s/%s", path, names[i]);
    if (stat(full, &sb) == 0) return full;
  }
  return arena_printf(a, "%s/%s", path, names[0]);
}

static VlStatus load(const char *path, Arena *a, Diag *d, Preprocess *out) {
  uint8_t *bytes;
  size_t n;
  const char *file = find_file(path, a);
  VL_TRY(io_read(file, PREPROCESS_MAX_BYTES, a, d, &bytes, &n));
  return preprocess_parse(bytes, n, file, d, out);
}

VlStatus preprocess_load(const char *path, Diag *d, Preprocess *out) {
  Arena *a = arena_new(0);
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(d, DIAG_NOMEM, (DiagAt){path, NULL}, "no memory to read this file");
  }
  VlStatus st = load(path, a, d, out);
  arena_free(a);
  return st;
}
