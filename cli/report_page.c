/* SPDX-License-Identifier: Apache-2.0 */
/* report_page.c - a Report as one HTML file that fetches nothing. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"
#include "cli/report_style.h"

static void percent(Str *s, double v) {
  if (isfinite(v)) str_printf(s, "%.2f %%", 100 * v);
  else str_add(s, "–");
}

static void cell(Str *s, double v) {
  str_add(s, "<td>");
  percent(s, v);
  str_add(s, "</td>");
}

static void card(Str *s, const char *name, double v) {
  str_add(s, "<div class=\"card\"><b>");
  percent(s, v);
  str_printf(s, "</b><span class=\"soft\">%s</span></div>\n", name);
}

/* ---- the run --------------------------------------------------------------------- */

static void write_head(const Report *r, Str *s) {
  const Config *c = &r->config;
  str_add(s, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
             "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
             "style-src 'unsafe-inline'; img-src data:\">\n"
             "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
  chart_escape(s, r->run);
  str_add(s, " - vlpc</title>\n<style>\n" REPORT_STYLE "</style>\n<header>\n<h1>");
  chart_escape(s, r->run);
  str_add(s, "</h1>\n<p class=\"soft\">");
  chart_escape(s, c->method);
  if (c->shots > 0) str_printf(s, ", %" PRId64 " photos of each class", c->shots);
  else str_add(s, ", all photos");
  str_printf(s, ", %s classes, seed %" PRId64 ", %" PRId64 " epochs, batches of %" PRId64
             ", learning rate %g</p>\n</header>\n",
             c->classes, c->seed, c->epochs, c->batch, c->lr);
}

static void write_curve(const Series *x, Str *s) {
  double last = (double)NAN;
  for (uint32_t i = 0; i < x->point.n; i++)
    if (isfinite(x->point.at[i].value)) last = x->point.at[i].value;
  str_add(s, "<figure class=\"card\">\n<h3>");
  chart_escape(s, x->name);
  str_add(s, "</h3>\n");
  chart_series(s, x);
  str_printf(s, "<figcaption>%" PRIu32 " steps", x->point.n);
  if (isfinite(last)) str_printf(s, ", at last %.6g", last);
  str_add(s, "</figcaption>\n</figure>\n");
}

static void write_curves(const Report *r, Str *s) {
  str_add(s, "<h2>Metrics by step</h2>\n");
  if (r->series.n == 0) str_add(s, "<p class=\"soft\">No step was done.</p>\n");
  str_add(s, "<div class=\"grid2\">\n");
  for (uint32_t i = 0; i < r->series.n; i++) write_curve(&r->series.at[i], s);
  str_add(s, "</div>\n");
}

/* ---- figures of all sets ------------------------------------------------------------ */

static void write_row(const SetScore *set, const PartScore *p, Str *s) {
  str_add(s, "<tr><td>");
  chart_escape(s, set->prompts ? set->prompts : "no prompts");
  str_add(s, "</td><td>");
  chart_escape(s, p->classes_of);
  str_printf(s, "</td><td>%" PRIu64 "</td>", p->photos);
  cell(s, p->top1);
  cell(s, p->top5);
  cell(s, p->macro_f1);
  cell(s, p->ece);
  str_printf(s, "<td>%.4f</td></tr>\n", p->loss);
}

static void write_table(const Evaluation *e, Str *s) {
  str_add(s, "<div class=\"card scroll\"><table>\n<tr><th>prompts<th>classes<th>photos<th>accuracy"
             "<th>top 5<th>macro F1<th>calibration error<th>loss</tr>\n");
  for (uint32_t i = 0; i < e->n_sets; i++) {
    for (uint32_t k = 0; k < e->set[i].n_parts; k++) write_row(&e->set[i], &e->set[i].part[k], s);
    if (!isfinite(e->set[i].harmonic_mean)) continue;
    str_add(s, "<tr><td></td><td>harmonic mean</td><td></td>");
    cell(s, e->set[i].harmonic_mean);
    str_add(s, "<td></td><td></td><td></td><td></td></tr>\n");
  }
  str_add(s, "</table></div>\n");
  if (e->n_sets > 1 && isfinite(e->mean))
    str_printf(s, "<p>Mean of %" PRIu32 " sets: %.2f ± %.2f %%</p>\n", e->n_sets, 100 * e->mean,
               100 * e->sd);
}

/* ---- one part --------------------------------------------------------------------- */

typedef struct {
  uint32_t label, answer;
  uint64_t n;
} Mistake;

static int by_count(const void *a, const void *b) {
  const Mistake *x = a, *y = b;
  if (x->n != y->n) return x->n > y->n ? -1 : 1;
  if (x->label != y->label) return x->label < y->label ? -1 : 1;
  return (x->answer > y->answer) - (x->answer < y->answer);
}

enum { MISTAKES_SHOWN = 10 };

static void write_mistakes(const PartScore *p, Str *s) {
  VEC(Mistake) m = {0};
  for (uint32_t i = 0; i < p->n_classes; i++)
    for (uint32_t k = 0; k < p->n_classes; k++)
      if (i != k && p->class[i].answers[k])
        *vec_push(s->arena, &m) = (Mistake){i, k, p->class[i].answers[k]};
  if (m.n == 0) {
    str_add(s, "<p class=\"soft\">Nothing was confused.</p>\n");
    return;
  }
  qsort(m.at, m.n, sizeof *m.at, by_count);
  str_add(s, "<table>\n<tr><th>photos of<th>taken for<th>times</tr>\n");
  for (uint32_t i = 0; i < VL_MIN(m.n, MISTAKES_SHOWN); i++) {
    str_add(s, "<tr><td>");
    chart_escape(s, p->class[m.at[i].label].name);
    str_add(s, "</td><td>");
    chart_escape(s, p->class[m.at[i].answer].name);
    str_printf(s, "</td><td>%" PRIu64 "</td></tr>\n", m.at[i].n);
  }
  str_add(s, "</table>\n");
}

static void write_bars(const PartScore *p, Str *s) {
  str_add(s, "<div class=\"scroll\"><table>\n");
  for (uint32_t i = 0; i < p->n_classes; i++) {
    const ClassScore *c = &p->class[i];
    str_add(s, "<tr><td>");
    chart_escape(s, c->name);
    str_add(s, "</td><td class=\"bar\">");
    if (isfinite(c->accuracy)) str_printf(s, "<i style=\"width:%.2f%%\"></i>", 100 * c->accuracy);
    str_add(s, "</td>");
    cell(s, c->accuracy);
    str_printf(s, "<td class=\"soft\">of %" PRIu64 "</td></tr>\n", c->photos);
  }
  str_add(s, "</table></div>\n");
}

static void write_cards(const PartScore *p, Str *s) {
  str_add(s, "<div class=\"cards\">\n");
  card(s, "accuracy", p->top1);
  card(s, "top 5", p->top5);
  card(s, "macro F1", p->macro_f1);
  card(s, "calibration error", p->ece);
  str_add(s, "</div>\n");
}

static void write_part(const PartScore *p, Str *s) {
  str_add(s, "<h3 class=\"soft\">");
  chart_escape(s, p->classes_of);
  str_printf(s, " classes, %" PRIu64 " photos</h3>\n", p->photos);
  write_cards(p, s);
  str_add(s, "<div class=\"grid2\">\n<figure class=\"card\">\n<h3>Confusions</h3>\n");
  if (p->n_classes <= CONFUSION_MAX) chart_confusion(s, p);
  str_add(s, p->n_classes <= CONFUSION_MAX
                 ? "<figcaption>A row for each class, a column for each answer.</figcaption>\n"
                 : "<p class=\"soft\">There are too many classes to draw.</p>\n");
  str_add(s, "</figure>\n<figure class=\"card\">\n<h3>Accuracy of each class</h3>\n");
  write_bars(p, s);
  str_add(s, "</figure>\n<figure class=\"card square\">\n<h3>Calibration</h3>\n");
  chart_calibration(s, p);
  str_add(s, "<figcaption>Accuracy over the probability of the answer; on the dashed line "
             "probabilities can be trusted.</figcaption>\n</figure>\n"
             "<figure class=\"card\">\n<h3>Most frequent confusions</h3>\n");
  write_mistakes(p, s);
  str_add(s, "</figure>\n</div>\n");
}

static void write_evaluation(const Evaluation *e, Str *s) {
  str_add(s, "<h2>On the ");
  chart_escape(s, e->split);
  str_add(s, " split</h2>\n");
  write_table(e, s);
  for (uint32_t i = 0; i < e->n_sets; i++) {
    str_printf(s, "<details%s>\n<summary><h2 style=\"display:inline-block\">", i ? "" : " open");
    chart_escape(s, e->set[i].prompts ? e->set[i].prompts : "no prompts");
    str_add(s, "</h2></summary>\n");
    for (uint32_t k = 0; k < e->set[i].n_parts; k++) write_part(&e->set[i].part[k], s);
    str_add(s, "</details>\n");
  }
}

/* ---- words ------------------------------------------------------------------------- */

static void write_words(const Words *w, Str *s) {
  str_add(s, "<h2>Words nearest to learned rows</h2>\n<div class=\"card scroll\"><table>\n"
             "<tr><th>row<th>tokens, and their Euclidean distance</tr>\n");
  for (uint32_t i = 0; i < w->row.n; i++) {
    const WordRow *x = &w->row.at[i];
    str_add(s, "<tr><td>");
    chart_escape(s, x->name);
    str_printf(s, " %" PRIu32 "</td><td>", x->row);
    for (int k = 0; k < WORDS_OF_ROW; k++) {
      str_add(s, k > 0 ? ", " : "");
      chart_escape(s, x->near[k].text);
      str_printf(s, " <span class=\"soft\">%.3f</span>", x->near[k].distance);
    }
    str_add(s, "</td></tr>\n");
  }
  str_add(s, "</table></div>\n");
  if (w->n_rows > w->row.n)
    str_printf(s, "<p class=\"soft\">The first %" PRIu32 " of %" PRIu64 " rows.</p>\n", w->row.n,
               w->n_rows);
}

VlStatus report_page(const Report *r, Diag *d, Str *s) {
  write_head(r, s);
  write_curves(r, s);
  if (r->evaluation.split) write_evaluation(&r->evaluation, s);
  if (r->looks.photo.n > 0) VL_TRY(report_photos(&r->looks, d, s));
  if (r->words.row.n > 0) write_words(&r->words, s);
  str_add(s, "<h2>Configuration</h2>\n<details class=\"card\">\n<summary>config.yaml</summary>\n"
             "<pre>");
  const char *line = r->config_text;
  for (const char *end; (end = strchr(line, '\n')); line = end + 1) {
    chart_escape(s, arena_strndup(s->arena, line, (size_t)(end - line)));
    str_add(s, "\n");
  }
  chart_escape(s, line);
  str_add(s, "</pre>\n</details>\n</html>\n");
  return VLPC_OK;
}
