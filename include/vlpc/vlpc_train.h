/* SPDX-License-Identifier: Apache-2.0 */
/* vlpc/vlpc_train.h - learn prompts of an artifact that was compiled with a prompt
** module and its loss (vlpc compile --prompt M.onnx --train).
**
**   vlpc_trainer *t;
**   vlpc_train_step step = {.struct_size = sizeof step};
**   vlpc_trainer_options o = {.struct_size = sizeof o, .data = "photos/", .run = "run/"};
**   if (vlpc_trainer_new(a, &o, &t) != VLPC_OK) … vlpc_trainer_error(t) …
**   while (vlpc_trainer_step(t, &step) == VLPC_OK && !step.done) …
**   vlpc_trainer_finish(t);
**   vlpc_trainer_free(t);
**
** A program with photos of its own names no data but classes, and has a step for each batch:
**
**   vlpc_trainer_options o = {.struct_size = sizeof o, .classes = names, .n_classes = 3};
**   vlpc_photos p = {.struct_size = sizeof p, .image = images, .label = labels, .n = 12};
**   while (vlpc_trainer_step_on(t, &p, &step) == VLPC_OK && !step.done) …
**
** Errors, memory and options follow the rules of vlpc.h; a trainer belongs to one
** thread at a time.  Equal options and seeds give equal bits for any number of
** threads, and also when the run was cut off anywhere and resumed.  Link
** libvlpc_train beside libvlpc. */
#ifndef VLPC_VLPC_TRAIN_H
#define VLPC_VLPC_TRAIN_H

#include "vlpc/vlpc.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vlpc_trainer vlpc_trainer;

/* Processes that train one run together: each computes its share of every batch (the
** configuration's `shards`) and of the photos of every evaluation, and all have the same
** values and scores, with the bits that one process gives.  The first alone writes into the
** run's folder.  All make the same calls with the same options, beginning with
** vlpc_trainer_new, which waits for the others too; those that fail in one do so in all. */
typedef struct vlpc_team {
  size_t struct_size;
  uint32_t rank, size; /* this process, from 0, of how many */
  /* all[size][n]: has row `rank`, gets the others'; false: a process is gone. */
  bool (*gather)(void *user, float *all, size_t n);
  void *user;
} vlpc_team;

typedef struct vlpc_trainer_options {
  size_t struct_size;
  const char *recipe;     /* how a paper trains its method; NULL: that of the artifact's */
  const char *config;     /* YAML file that changes it; NULL: none */
  const char *const *set; /* "key=value" over both, NULL-terminated; NULL: none */
  const char *data;       /* photos: a folder, a list or a shard (docs/training.md); NULL:
                             each step is given its own (vlpc_trainer_step_on) */
  const char *data_root;  /* folder that a list's paths are in; NULL: the list's own */
  const char *start;      /* prompt set to start from; NULL: as the module declares */
  const char *run;        /* folder for checkpoints, metrics and the result, made when
                             absent; NULL: nothing is written */
  int32_t resume;         /* 1: goes on from the newest checkpoint of the run */
  const vlpc_session_options *session; /* NULL: defaults */
  vlpc_log_fn *log;
  void *log_user;
  const vlpc_team *team; /* NULL: this process alone */
  /* Private folder where features of photos that prompts do not change are kept between
  ** runs, found again by the photo's bytes and all that makes them; prompts are the same
  ** bit for bit with and without.  NULL: they are not kept. */
  const char *cache_dir;
  /* Without data: names of the classes, all of which are learned; none: those that the set
  ** to start from was learned for. */
  const char *const *classes;
  uint32_t n_classes;
} vlpc_trainer_options;

/* The artifact must stay open as long as the trainer. */
VLPC_API vlpc_status vlpc_trainer_new(vlpc_artifact *a, const vlpc_trainer_options *options,
                                      vlpc_trainer **out);
VLPC_API void vlpc_trainer_free(vlpc_trainer *t);
VLPC_API const char *vlpc_trainer_error(const vlpc_trainer *t);
VLPC_API const char *vlpc_trainer_error_json(const vlpc_trainer *t);

typedef struct vlpc_trainer_info {
  size_t struct_size;
  const char *config;  /* the whole configuration as YAML */
  uint64_t steps;      /* of the whole run */
  uint64_t step;       /* done so far */
  uint32_t epochs, batch;
  uint32_t photos;     /* to learn from; 0: each step is given its own */
  uint32_t n_classes;
  uint32_t n_trainables;
  const char *warning; /* a damaged checkpoint that was passed over; NULL: none */
  /* Features of photos that prompts do not change, where they are found by what photos show
  ** (options.cache_dir, photos given): found so far, and made. */
  uint64_t features_found, features_made;
} vlpc_trainer_info;

VLPC_API bool vlpc_trainer_get_info(const vlpc_trainer *t, vlpc_trainer_info *out);
/* Name of the i-th class; NULL past the last. */
VLPC_API const char *vlpc_trainer_class(const vlpc_trainer *t, uint32_t i);

typedef struct vlpc_train_step {
  size_t struct_size;
  uint64_t step;  /* steps done, with this one */
  uint32_t epoch; /* of this step, from 0 */
  uint32_t n;     /* photos in it */
  double loss;
  double lr;      /* of the first trainable */
  bool epoch_done; /* it was the last of its epoch */
  bool done;       /* there was none left: nothing was done */
  double val_top1; /* accuracy on the validation photos, after an epoch; NaN: not looked at,
                      or scores were not finite */
} vlpc_train_step;

/* The next step; saves a checkpoint as the configuration says.  E1127 where the loss or
** a gradient is not finite: values stay those of the step before. */
VLPC_API vlpc_status vlpc_trainer_step(vlpc_trainer *t, vlpc_train_step *out);

/* Photos with the numbers of their classes: files, or pixels in memory.  They are the
** caller's and not needed after the call. */
typedef struct vlpc_photos {
  size_t struct_size;
  const vlpc_image *image; /* without prompts of their own */
  const uint32_t *label;   /* below n_classes of vlpc_trainer_info */
  uint32_t n;
} vlpc_photos;

/* The next step of a trainer without data, on these photos: at least one, at most the
** configuration's `batch`.  Each step is an epoch: `epochs` says how many there are, and rates
** follow them.  The bits are those of a step on the same photos as data, in this order. */
VLPC_API vlpc_status vlpc_trainer_step_on(vlpc_trainer *t, const vlpc_photos *photos,
                                          vlpc_train_step *out);

/* The i-th way to run a step of the first loss (0) or of the one that takes over (1), as
** vlpc_session_plan tells it, with room for what goes before it; out->name is NULL past the
** last, and of a loss that the run does not have.  The session's memory_limit chooses.
** Nothing runs. */
VLPC_API vlpc_status vlpc_trainer_plan(vlpc_trainer *t, uint32_t loss, uint32_t i,
                                       vlpc_plan *out);

/* Value and last gradient of the i-th trainable, f32; grad->data is NULL where it is not
** learned.  Neither may be written to.  False past the last. */
VLPC_API bool vlpc_trainer_tensor(const vlpc_trainer *t, uint32_t i, const char **name,
                                  vlpc_tensor *value, vlpc_tensor *grad);

typedef struct vlpc_train_scores {
  size_t struct_size;
  uint64_t n;          /* photos */
  double top1, top5;   /* in [0, 1] */
  double macro_f1, ece, loss;
} vlpc_train_scores;

typedef enum vlpc_split { VLPC_TRAIN = 0, VLPC_VAL = 1, VLPC_TEST = 2 } vlpc_split;
/* Photos of a split; 0: there are none. */
VLPC_API uint32_t vlpc_trainer_split(const vlpc_trainer *t, vlpc_split split);
/* How the prompts of now do on a split, whose photos are not augmented. */
VLPC_API vlpc_status vlpc_trainer_evaluate(vlpc_trainer *t, vlpc_split split,
                                           vlpc_train_scores *out);
/* How they do on any number of other photos, whose classes are those of the trainer. */
VLPC_API vlpc_status vlpc_trainer_evaluate_on(vlpc_trainer *t, const vlpc_photos *photos,
                                              vlpc_train_scores *out);

/* The prompts of now as a set, which the caller closes. */
VLPC_API vlpc_status vlpc_trainer_prompts(vlpc_trainer *t, vlpc_prompts **out);
/* Saves a checkpoint into the run's folder now. */
VLPC_API vlpc_status vlpc_trainer_save(vlpc_trainer *t);
/* Saves, and writes the result: prompts.safetensors in the run's folder. */
VLPC_API vlpc_status vlpc_trainer_finish(vlpc_trainer *t);

#ifdef __cplusplus
}
#endif
#endif
