/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - what a page about a run shows, and the page.
**
**   RUN/config.yaml, metrics.jsonl, eval.json  ->  Report  ->  HTML
**   RUN/prompts.safetensors, model.vlpc, photos  ->
**
** Files are hostile: each figure is checked when it is read, and the page escapes every
** name.  All of a Report is on the arena. */
#ifndef VLPC_CLI_REPORT_H
#define VLPC_CLI_REPORT_H

#include <jansson.h>

#include "base/io.h"
#include "base/str.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/model.h"
#include "train/config.h"

#define REPORT_FILE_MAX ((uint64_t)1 << 30)
#define REPORT_SERIES_MAX 64u

typedef struct {
  uint64_t step;
  double value; /* NaN: it was not finite */
} Point;

typedef struct {
  const char *name; /* "train/loss" */
  VEC(Point) point; /* by step */
} Series;

typedef VEC(Series) SeriesList;

typedef struct {
  const char *name;
  double accuracy;         /* NaN: no photo has it */
  uint64_t photos;
  const uint64_t *answers; /* [classes]: what its photos were taken for */
} ClassScore;

typedef struct {
  uint64_t photos;
  double confidence, accuracy;
} BinScore;

typedef struct {
  const char *classes_of; /* "all", "base", "new" */
  uint64_t photos;
  double top1, top5, macro_f1, ece, loss;
  ClassScore *class;
  BinScore *bin; /* those with photos, by confidence */
  uint32_t n_classes, n_bins;
} PartScore;

typedef struct {
  const char *prompts; /* NULL: none */
  PartScore *part;
  uint32_t n_parts;
  double harmonic_mean; /* NaN: not of base and new */
} SetScore;

typedef struct {
  const char *split; /* NULL: nothing was evaluated */
  SetScore *set;
  uint32_t n_sets;
  double mean, sd; /* NaN: there is one set */
} Evaluation;

enum { WORDS_OF_ROW = 5, WORD_ROWS_MAX = 64 };

typedef struct {
  const char *name; /* of the trainable */
  uint32_t row;
  const vlpc_near_token *near; /* [WORDS_OF_ROW] */
} WordRow;

/* What learned rows of texts are near to. */
typedef struct {
  VEC(WordRow) row; /* the first WORD_ROWS_MAX */
  uint64_t n_rows;  /* that there are */
} Words;

enum { LOOKS_MAX = 12 };

typedef struct {
  const char *path;
  const uint8_t *rgb; /* [side, side, 3], as the model sees it */
  float *map, *plain; /* vlpc_attention_maps; plain NULL: prompts do not change it */
} Look;

/* Photos, and where their features come from. */
typedef struct {
  VEC(Look) photo;
  uint32_t side, patches;    /* of a photo's side */
  uint32_t rows, plain_rows; /* of map and plain */
} Looks;

typedef struct {
  const char *run;
  Config config;
  const char *config_text; /* the file as it stands */
  SeriesList series;
  Evaluation evaluation;
  Words words;
  Looks looks;
} Report;

/* A run's result, in its artifact (--for, else RUN/model.vlpc). */
typedef struct {
  const char *file; /* NULL: one of them is absent */
  Model m;
  vlpc_prompts *set;
} RunModel;

/* report_read.c: config.yaml and metrics.jsonl, of which a torn last line does not count.
** Fails with OPEN, RUN_FIGURES, and as config_read and io_read do. */
VL_MUST_USE VlStatus report_read(Cli *c, const char *run, Report *out);
/* The same fault in words for both: place is "line 3" or a key. */
VlStatus bad_figures(Diag *d, const char *path, const char *place, const char *what);

/* report_scores.c: what vlpc eval -o wrote; a file that is absent is no fault. */
VL_MUST_USE VlStatus report_read_scores(Cli *c, const char *path, Evaluation *out);

/* report_words.c: none where the artifact has no tokenizer. */
VL_MUST_USE VlStatus report_read_words(Cli *c, const RunModel *run, Words *out);

/* report_look.c: of up to LOOKS_MAX of --photos. */
VL_MUST_USE VlStatus report_read_looks(Cli *c, const RunModel *run, Looks *out);
/* report_photos.c */
uint8_t report_byte(double v); /* the nearest; 0 of what is no number */
/* Fails with NOMEM, as libpng may. */
VL_MUST_USE VlStatus report_photos(const Looks *l, Diag *d, Str *s);

/* report_charts.c: SVG, coloured by the page's style. */
void chart_escape(Str *s, const char *text); /* for HTML and attributes in double quotes */
void chart_series(Str *s, const Series *x);
void chart_confusion(Str *s, const PartScore *p); /* at most CONFUSION_MAX classes */
void chart_calibration(Str *s, const PartScore *p);
#define CONFUSION_MAX 400u

/* report_page.c */
VL_MUST_USE VlStatus report_page(const Report *r, Diag *d, Str *s);

#endif
