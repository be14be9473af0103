/* SPDX-License-Identifier: Apache-2.0 */
/* inspect_prompts.c - vlpc inspect --prompts: what a linked module does at each
** layer, and when what it needs is known. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect.h"

/* When an entry runs that is there. */
static const struct {
  const char *entry, *when;
} run_row[] = {{"prompts", "once for a prompt set"},
               {"frozen_text", "once for a set of classes"},
               {"text", "once for a set of classes"},
               {"image", "for each image"}};

static const struct {
  const char *time, *text;
} time_row[] = {{"const", "fixed"},
                {"prompts", "known with the prompt set"},
                {"classes", "known with the classes"},
                {"image", "known with the image"}};

/* ---- words ----------------------------------------------------------------- */

static uint32_t count_words(const char *text) {
  uint32_t n = 0;
  for (const char *at = text; *at; at++) n += *at != ' ' && (at == text || at[-1] == ' ');
  return n;
}

/* Where word n begins, or the end. */
static const char *word_at(const char *text, uint32_t n) {
  const char *at = text;
  for (; *at && n > 0; at++) n -= *at == ' ';
  return at;
}

/* Which words of the phrase are learned is said of phrases with a token a word. */
static void slot_text(const vlpc_module_info *i, Str *s) {
  const char *place = i->slot_place != NULL ? i->slot_place : "end";
  str_printf(s, i->slot_rows > 1 ? "rows 1-%" PRIu32 " learned" : "row %" PRIu32 " learned",
             i->slot_rows);
  str_printf(s, ", %s", strcmp(place, "end") == 0     ? "before the name"
                        : strcmp(place, "front") == 0 ? "moved behind the name"
                                                      : "moved around the name");
  const char *phrase = i->slot_phrase;
  if (phrase == NULL || count_words(phrase) < i->slot_rows) return;
  const char *rest = word_at(phrase, i->slot_rows);
  size_t n = (size_t)(rest - phrase) - (*rest != '\0');
  str_printf(s, ", for the words \"%.*s\"", (int)n, phrase);
  if (*rest != '\0') str_printf(s, "; \"%s\" stays", rest);
}

static const char *time_text(const char *time) {
  for (size_t i = 0; time != NULL && i < VL_COUNT(time_row); i++)
    if (strcmp(time_row[i].time, time) == 0) return time_row[i].text;
  return "known with image and classes";
}

static void rows_text(const vlpc_layout_row *r, Str *s) {
  if (r->first < 0 || r->rows < 0) str_add(s, "rows");
  else if (r->rows == 1) str_printf(s, "row %" PRId64, r->first);
  else str_printf(s, "rows %" PRId64 "-%" PRId64, r->first, r->first + r->rows - 1);
}

static const char *action_text(Cli *c, const vlpc_layout_row *r) {
  static const char *const past[][2] = {
      {"insert", "inserted"}, {"overwrite", "overwritten"}, {"drop", "dropped"}};
  Str s = {.arena = c->arena};
  if (strcmp(r->action, "keep") == 0) return "as before";
  if (strcmp(r->action, "replace") == 0) str_add(&s, "replaced");
  else rows_text(r, &s);
  for (size_t i = 0; i < VL_COUNT(past); i++)
    if (strcmp(past[i][0], r->action) == 0) str_printf(&s, " %s", past[i][1]);
  if (r->value == NULL) return str_text(&s);
  str_printf(&s, " by %s", r->value);
  if (r->mix[0] != 0)
    str_printf(&s, " = %g learned + %g of those before", r->mix[0], r->mix[1]);
  if (r->per != NULL && strcmp(r->per, "all") == 0)
    str_printf(&s, ", the same for all %s", r->point[0] == 'T' ? "classes" : "images");
  else if (r->per != NULL) str_printf(&s, ", one for each %s", r->per);
  str_printf(&s, ", %s", time_text(r->time));
  return str_text(&s);
}

/* ---- text ------------------------------------------------------------------- */

static bool same_tower(const vlpc_layout_row *a, const vlpc_layout_row *b) {
  return a->point[0] == b->point[0];
}

/* The last of the points from i on that nothing is written at. */
static uint32_t quiet_until(const Model *m, uint32_t i, const vlpc_layout_row *first) {
  vlpc_layout_row r = {.struct_size = sizeof r};
  while (vlpc_artifact_layout(m->artifact, i + 1, &r) && same_tower(first, &r) &&
         strcmp(r.action, "keep") == 0 && r.stream == first->stream)
    i++;
  return i;
}

static void print_layers(Cli *c, const Model *m) {
  vlpc_layout_row r = {.struct_size = sizeof r}, last = r, before = r;
  for (uint32_t i = 0; vlpc_artifact_layout(m->artifact, i, &r); i++) {
    const char *name = r.point;
    if (before.point == NULL || !same_tower(&before, &r))
      printf("  %s\n", r.point[0] == 'T' ? "text" : r.point[0] == 'V' ? "image" : "scores");
    before = r;
    if (strcmp(r.action, "keep") == 0) {
      i = quiet_until(m, i, &r);
      vlpc_artifact_layout(m->artifact, i, &last);
      if (strcmp(last.point, r.point) != 0)
        name = arena_printf(c->arena, "%s … %s", r.point, last.point);
    }
    int pad = (int)strlen(name) + (strstr(name, "…") != NULL ? -2 : 0);
    printf("    %s%*s", name, pad < 16 ? 16 - pad : 1, "");
    if (r.stream > 0) printf("%4" PRId64 " rows  ", r.stream);
    else printf("%11s", "");
    puts(action_text(c, &r));
  }
}

/* "text": for each image where what it writes is known with one. */
static const char *when_text(const Model *m, size_t row) {
  vlpc_port p = {.struct_size = sizeof p};
  bool lifted = false;
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, "text", VLPC_INPUT, i, &p); i++)
    lifted = lifted || strcmp(p.name, "image_features") == 0;
  return lifted && strcmp(run_row[row].entry, "text") == 0 ? "for each image, of all classes"
                                                           : run_row[row].when;
}

static void print_times(const Model *m) {
  vlpc_port p = {.struct_size = sizeof p};
  puts("  what runs when");
  for (size_t i = 0; i < VL_COUNT(run_row); i++)
    if (vlpc_artifact_port(m->artifact, run_row[i].entry, VLPC_OUTPUT, 0, &p))
      printf("    %-15s %s\n", run_row[i].entry, when_text(m, i));
}

static void print_prompts(Cli *c, const Model *m, const vlpc_module_info *i) {
  vlpc_port p = {.struct_size = sizeof p};
  Str slot = {.arena = c->arena};
  printf("%s: prompt module %s\n", c->arg[0], i->method);
  for (uint32_t k = 0; vlpc_artifact_trainable(m->artifact, k, &p); k++)
    printf("%s%s", k == 0 ? "  learned  " : ", ", p.name);
  if (i->n_trainables > 0) puts("");
  if (i->loss_weights != NULL) printf("  loss     %s\n", i->loss_weights);
  if (i->slot_rows > 0) slot_text(i, &slot);
  if (i->slot_rows > 0) printf("  texts    row 0 start, %s\n", str_text(&slot));
  print_layers(c, m);
  print_times(m);
}

/* ---- JSON -------------------------------------------------------------------- */

static void layers_json(const Model *m, Json *j) {
  vlpc_layout_row r = {.struct_size = sizeof r};
  js_list(j, "layout");
  for (uint32_t i = 0; vlpc_artifact_layout(m->artifact, i, &r); i++) {
    js_object(j, NULL);
    js_text(j, "point", r.point);
    js_text(j, "action", r.action);
    js_int(j, "stream", r.stream);
    if (strcmp(r.action, "keep") != 0) {
      js_text(j, "segment", r.segment);
      js_int(j, "first", r.first);
      js_int(j, "rows", r.rows);
      js_text(j, "value", r.value);
      js_text(j, "per", r.per);
      js_text(j, "time", r.time);
    }
    if (r.mix[0] != 0) {
      js_list(j, "mix");
      js_real(j, NULL, r.mix[0]);
      js_real(j, NULL, r.mix[1]);
      js_end(j);
    }
    js_end(j);
  }
  js_end(j);
}

static void prompts_json(const Model *m, const vlpc_module_info *i, Json *j) {
  vlpc_port p = {.struct_size = sizeof p};
  js_text(j, "kind", "artifact");
  js_text(j, "method", i->method);
  js_int(j, "slot_rows", i->slot_rows);
  js_text(j, "slot_place", i->slot_place);
  js_text(j, "slot_phrase", i->slot_phrase);
  js_text(j, "loss_weights", i->loss_weights);
  layers_json(m, j);
  js_list(j, "runs");
  for (size_t k = 0; k < VL_COUNT(run_row); k++) {
    if (!vlpc_artifact_port(m->artifact, run_row[k].entry, VLPC_OUTPUT, 0, &p)) continue;
    js_object(j, NULL);
    js_text(j, "entry", run_row[k].entry);
    js_text(j, "when", when_text(m, k));
    js_end(j);
  }
  js_end(j);
}

VlStatus inspect_prompts(Cli *c, const Model *m, Json *j) {
  vlpc_module_info i = {.struct_size = sizeof i};
  if (!vlpc_artifact_module(m->artifact, &i)) {
    VlStatus s = diag_error(c->diag, DIAG_NO_MODULE, (DiagAt){c->arg[0], NULL},
                            "the artifact has no prompt module");
    diag_fix(c->diag, "link one in: vlpc compile MODEL.onnx --prompt MODULE.onnx");
    return s;
  }
  if (j != NULL) prompts_json(m, &i, j);
  else print_prompts(c, m, &i);
  return VLPC_OK;
}
