/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_new.c - what a run is made of, in order: configuration, photos, session,
** start values, optimiser, step, folder. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/map.h"
#include "train/parts.h"
#include "train/plan.h"
#include "train/trainer_int.h"

/* ---- configuration --------------------------------------------------------- */

static VlStatus cannot(const vlpc_trainer *t, const char *what, const char *fix) {
  VlStatus s = diag_error(t->diag, DIAG_TRAIN_CANNOT, DIAG_NOWHERE, "%s", what);
  diag_fix(t->diag, "%s", fix);
  return s;
}

static bool has_second(const Config *c) {
  return c->stage_epochs > 0 && c->stage_epochs < c->epochs;
}

/* The weights that the module states, else those of the recipe. */
static VlStatus check_weights(const vlpc_trainer *t) {
  const Config *c = &t->config;
  Config paper;
  vlpc_module_info module = {.struct_size = sizeof module};
  VL_TRY(config_recipe(c->recipe, t->arena, t->diag, &paper));
  vlpc_artifact_module(t->artifact, &module);
  const char *own = module.loss_weights ? module.loss_weights : config_weights(&paper, t->arena);
  const char *asked = config_weights(c, t->arena);
  if (strcmp(own, asked) == 0) return VLPC_OK;
  VlStatus s = cannot(t, "the weights of a loss are part of the module's loss",
                      "write the module with them: vlpc train --method or vlpc prompt "
                      "--loss-weights; or leave loss_… as they are");
  diag_found(t->diag, "%s", asked);
  diag_expected(t->diag, "%s", own);
  return s;
}

static VlStatus check_precision(vlpc_trainer *t) {
  vlpc_artifact_info info = {.struct_size = sizeof info};
  const char *asked = t->config.precision;
  vlpc_artifact_get_info(t->artifact, &info);
  t->config.precision = info.precision;
  if (strcmp(asked, "any") == 0 || strcmp(asked, info.precision) == 0) return VLPC_OK;
  VlStatus s = cannot(t, "the artifact computes in another precision",
                      "compile it with --precision, or leave precision as it is");
  diag_found(t->diag, "%s", asked);
  diag_expected(t->diag, "%s", info.precision);
  return s;
}

/* A loss that looks at more than one photo at a time is another one on parts of a batch. */
static VlStatus check_shards(const vlpc_trainer *t) {
  vlpc_module_info m = {.struct_size = sizeof m};
  long long shards = t->config.shards;
  vlpc_artifact_module(t->artifact, &m);
  if (shards % t->team.size != 0) {
    VlStatus s = cannot(t, "a batch has not a part for each process",
                        "set shards to a multiple of the processes");
    diag_found(t->diag, "%lld shards, %u processes", shards, t->team.size);
    return s;
  }
  if (shards == 1 || m.loss_per_photo) return VLPC_OK;
  return cannot(t, "the loss is not a mean over photos, so a batch has no parts",
                "set shards=1 and train in one process");
}

/* What the artifact decides cannot be asked for otherwise. */
static VlStatus check_config(vlpc_trainer *t) {
  const Config *c = &t->config;
  VL_TRY(check_weights(t));
  VL_TRY(check_precision(t));
  VL_TRY(check_shards(t));
  if (has_second(c) && !step_is_there(t->artifact, 1))
    return cannot(t, "the module has no second loss for the epochs after stage_epochs",
                  "train with its loss alone: stage_epochs=0");
  return VLPC_OK;
}

static VlStatus read_config(vlpc_trainer *t, const char *method) {
  Str text = {.arena = t->arena};
  PlanSource from = {t->o.recipe, method, t->o.config, t->o.set};
  VL_TRY(plan_config(&from, t->arena, t->diag, &t->config));
  VL_TRY(check_config(t));
  config_print(&t->config, &text);
  t->config_text = str_text(&text);
  return VLPC_OK;
}

/* ---- the set to start from ------------------------------------------------- */

static void close_prompts(void *p) { vlpc_prompts_close(p); }

static VlStatus open_start(vlpc_trainer *t) {
  if (!t->o.start) return VLPC_OK;
  VlStatus s = vlpc_prompts_open(t->o.start, &t->start);
  if (!t->start) return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
  arena_defer(t->arena, close_prompts, t->start);
  if (s == VLPC_OK) return VLPC_OK;
  VL_IGNORE(diag_error(t->diag, DIAG_PROMPT_SET, (DiagAt){t->o.start, NULL},
                       "the set to start from cannot be read"));
  diag_note(t->diag, "%s", vlpc_prompts_error(t->start));
  return s;
}

/* ---- photos ---------------------------------------------------------------- */

static VlStatus check_classes(const vlpc_trainer *t) {
  uint32_t n = t->data.n_classes, named = 0;
  while (named < n && t->data.classes[named] && t->data.classes[named][0]) named++;
  if (n > 0 && named == n && n <= DATASET_MAX_CLASSES) return VLPC_OK;
  VlStatus s = diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                          "there are no photos, options.data, nor names of classes for others");
  diag_found(t->diag, "%u names of %u classes", named, n);
  diag_fix(t->diag, "set options.data, or options.classes and n_classes");
  return s;
}

/* Those of the options, else of the set to start from. */
static VlStatus name_classes(vlpc_trainer *t) {
  vlpc_prompts_info set = {.struct_size = sizeof set};
  vlpc_prompts_get_info(t->start, &set);
  bool own = t->o.n_classes > 0;
  uint32_t n = own ? t->o.n_classes : set.n_classes;
  const char **names = arena_array(t->arena, const char *, n);
  for (uint32_t i = 0; i < n; i++)
    names[i] = own ? t->o.classes[i] : vlpc_prompts_class(t->start, i);
  t->data.classes = names, t->data.n_classes = n;
  return check_classes(t);
}

static VlStatus read_data(vlpc_trainer *t) {
  DatasetSource from = {t->o.data, t->o.data_root};
  if (from.path && t->o.n_classes > 0)
    return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                      "the classes are those of options.data: options.classes is for none");
  VL_TRY(from.path ? plan_data(&t->config, &from, t->arena, t->diag, &t->data) : name_classes(t));
  t->given = (Dataset){.classes = t->data.classes, .n_classes = t->data.n_classes};
  t->source = from.path ? &t->data : &t->given;
  dataset_hash(&t->data, t->arena, t->data_hash);
  return VLPC_OK;
}

static VlStatus read_preprocess(vlpc_trainer *t, Preprocess *out) {
  vlpc_section s = {.struct_size = sizeof s};
  vlpc_artifact_info info = {.struct_size = sizeof info};
  vlpc_artifact_get_info(t->artifact, &info);
  *out = preprocess_clip(info.image_size ? info.image_size : 224);
  for (uint32_t i = 0; vlpc_artifact_section(t->artifact, i, &s); i++)
    if (strcmp(s.name, "preprocess") == 0)
      return preprocess_from_text(s.data, (size_t)s.bytes, "artifact", t->diag, out);
  return VLPC_OK;
}

static void free_pool(void *p) { threads_free(p); }

static VlStatus make_loader(vlpc_trainer *t) {
  vlpc_session_info info = {.struct_size = sizeof info};
  int32_t width, height;
  LoaderSpec spec = {.data = t->source, .split = SPLIT_train, .seed = (uint64_t)t->config.seed,
                     .batch = (uint32_t)t->config.batch, .train = true,
                     .passing = t->source == &t->given};
  VL_TRY(read_preprocess(t, &spec.preprocess));
  vlpc_session_get_info(t->session, &info);
  t->pool = threads_new(info.threads > 0 ? info.threads : 1, false);
  if (!t->pool)
    return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the threads");
  arena_defer(t->arena, free_pool, t->pool);
  spec.pool = t->pool;
  preprocess_size(&spec.preprocess, &width, &height);
  t->augment = augment_papers(width);
  if (strcmp(t->config.augment, "papers") == 0) spec.augment = &t->augment;
  VL_TRY(loader_new(&spec, t->arena, t->diag, &t->loader));
  t->batches = loader_batches(t->loader);
  t->order = arena_array(t->arena, uint32_t, loader_count(t->loader));
  t->label = arena_array(t->arena, uint32_t, spec.batch);
  return VLPC_OK;
}

/* What decides the bits of features: the code, and what it runs on.  A device whose code is
** not known keeps none. */
static void describe_rows(vlpc_trainer *t) {
  static const char *const of[] = {"program", "weights", "preprocess"};
  vlpc_session_info info = {.struct_size = sizeof info};
  vlpc_section x = {.struct_size = sizeof x};
  Str s = {.arena = t->arena};
  vlpc_session_get_info(t->session, &info);
  str_printf(&s, "code %s", info.code_hash);
  for (uint32_t i = 0; vlpc_artifact_section(t->artifact, i, &x); i++)
    for (size_t k = 0; k < VL_COUNT(of); k++)
      if (strcmp(x.name, of[k]) == 0) str_printf(&s, "\n%s %s", x.name, x.hash);
  t->kept = (FeaturesSpec){.dir = info.code_hash[0] ? t->o.cache_dir : NULL, .of = str_text(&s),
                           .most = FEATURES_MAX};
}

/* ---- session, start values ------------------------------------------------- */

static void free_session(void *s) { vlpc_session_free(s); }

/* Rows that start as no words stand on dummy ones: then a template is for texts without
** learned rows alone. */
static VlStatus make_session(vlpc_trainer *t, const vlpc_module_info *m) {
  VlStatus s = vlpc_session_new(t->artifact, t->o.session, &t->session);
  if (!t->session) return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
  arena_defer(t->arena, free_session, t->session);
  VL_TRY(s);
  bool dummies = m->slot_rows > 0 && !m->slot_phrase;
  if (t->config.template[0] && !dummies) t->template_text = t->config.template;
  return vlpc_set_labels(t->session, t->data.classes, t->data.n_classes, t->template_text);
}

static VlStatus make_start(vlpc_trainer *t) {
  if (!t->start) {
    vlpc_start_options o = {.struct_size = sizeof o, .seed = (uint64_t)t->config.seed,
                            .classes = t->data.classes, .n_classes = t->data.n_classes,
                            .template_text = t->template_text};
    VL_TRY(vlpc_prompts_start(t->session, &o, &t->start));
    arena_defer(t->arena, close_prompts, t->start);
    return VLPC_OK;
  }
  VL_TRY(vlpc_session_set_prompts(t->session, t->start)); /* it fits */
  return vlpc_session_forget_prompts(t->session, t->start);
}

static void copy_values(vlpc_trainer *t) {
  vlpc_prompts_info info = {.struct_size = sizeof info};
  vlpc_prompts_get_info(t->start, &info);
  t->tensor = arena_array(t->arena, StepTensor, info.n_tensors);
  t->value_at = arena_array(t->arena, const void *, info.n_tensors);
  for (; t->n_tensors < info.n_tensors; t->n_tensors++) {
    StepTensor *x = &t->tensor[t->n_tensors];
    const char *name = NULL;
    VL_CHECK(vlpc_prompts_tensor(t->start, t->n_tensors, &name, &x->value), "counted");
    x->name = arena_strdup(t->arena, name);
    x->n = 1;
    for (int32_t k = 0; k < x->value.rank; k++) x->n *= (uint64_t)x->value.shape[k];
    float *copy = arena_array(t->arena, float, x->n);
    if (x->n) memcpy(copy, x->value.data, (size_t)x->n * sizeof(float));
    x->value.data = copy;
  }
}

/* ---- optimiser, step ------------------------------------------------------- */

static VlStatus make_step(vlpc_trainer *t) {
  const Config *c = &t->config;
  bool fresh = strcmp(c->augment, "papers") == 0;
  const char **plain = arena_one(t->arena, const char *);
  *plain = c->template;
  StepSpec spec = {.artifact = t->artifact, .session = t->session, .loader = t->loader,
                   .batch = (uint32_t)c->batch, .views = fresh ? (uint32_t)c->views : 1,
                   .kept = t->kept, .plain = plain, .n_plain = c->template[0] != '\0',
                   .tensor = t->tensor, .n_tensors = t->n_tensors,
                   .shards = (uint32_t)c->shards, .team = t->team.size > 1 ? &t->team : NULL};
  VL_TRY(step_new(&spec, t->arena, t->diag, &t->step[0]));
  spec.stage = 1;
  return has_second(c) ? step_new(&spec, t->arena, t->diag, &t->step[1]) : VLPC_OK;
}

static VlStatus make_optim(vlpc_trainer *t) {
  OptimSpec spec = config_optim(&t->config);
  OptimParam *p = arena_array(t->arena, OptimParam, t->n_tensors);
  uint32_t n = 0;
  t->learned = arena_array(t->arena, uint32_t, t->n_tensors);
  for (uint32_t i = 0; i < t->n_tensors; i++) {
    const StepTensor *x = &t->tensor[i];
    if (!step_reaches(t->step[0], i) && !(t->step[1] && step_reaches(t->step[1], i))) continue;
    t->learned[n] = i;
    p[n++] = (OptimParam){.name = x->name, .value = x->value.data, .n = x->n};
  }
  VL_TRY(optim_new(&spec, p, n, t->arena, t->diag, &t->optim));
  if (t->config.gpa_std <= 0) return VLPC_OK;
  t->average = arena_array(t->arena, float *, n);
  for (uint32_t i = 0; i < n; i++) t->average[i] = arena_array(t->arena, float, p[i].n);
  t->weight = arena_array(t->arena, double, (uint64_t)t->config.epochs);
  gpa_weights(t->config.gpa_mean, t->config.gpa_std, (uint32_t)t->config.epochs, t->weight);
  return VLPC_OK;
}

/* ---- the folder ------------------------------------------------------------ */

static void give_back(void *lock) { run_give_back(*(int *)lock); }

static VlStatus take_folder(const vlpc_trainer *t) {
  int *lock = arena_one(t->arena, int);
  VL_TRY(run_take(t->o.run, t->diag, lock));
  arena_defer(t->arena, give_back, lock);
  return VLPC_OK;
}

static void hash_model(vlpc_trainer *t) {
  Str all = {.arena = t->arena};
  vlpc_section s = {.struct_size = sizeof s};
  for (uint32_t i = 0; vlpc_artifact_section(t->artifact, i, &s); i++)
    if (strcmp(s.name, "graph") == 0 || strcmp(s.name, "weights") == 0) str_add(&all, s.hash);
  hash_hex128(str_text(&all), all.n, t->model_hash);
}

static VlStatus write_config(const vlpc_trainer *t) {
  FileWriter *w = NULL;
  VL_TRY(io_create(arena_printf(t->arena, "%s/config.yaml", t->o.run), t->diag, &w));
  VL_IGNORE(io_write(w, t->config_text, strlen(t->config_text))); /* fails the commit */
  return io_commit(w);
}

static void close_log(void *m) { metrics_close(m); }

static VlStatus open_folder(vlpc_trainer *t) {
  if (!t->o.run) return VLPC_OK;
  if (t->o.resume) VL_TRY(trainer_resume(t));
  else VL_TRY(run_is_new(t->o.run, t->arena, t->diag));
  if (!trainer_leads(t)) return VLPC_OK;
  VL_TRY(write_config(t));
  MetricsSpec m = {t->o.run, t->done, (double)time(NULL)};
  VL_TRY(metrics_open(&m, t->arena, t->diag, &t->log));
  arena_defer(t->arena, close_log, t->log);
  return VLPC_OK;
}

/* ---- all ------------------------------------------------------------------- */

static VlStatus apart(const vlpc_trainer *t, const char *what) {
  VlStatus s = diag_error(t->diag, DIAG_TRAIN_APART, DIAG_NOWHERE,
                          "the processes have not the same %s", what);
  diag_fix(t->diag, "have all of them see the same files, which nobody changes meanwhile");
  return s;
}

/* Every process has come here without an error, and with the same texts. */
static VlStatus meet(vlpc_trainer *t, VlStatus mine, const char *const *text, uint32_t n,
                     const char *what) {
  enum { WORDS = sizeof((Hash128 *)NULL)->at };
  if (t->team.size == 1) return mine;
  Parts p = parts_new(&t->team, t->team.size, WORDS, t->arena);
  float *row = parts_row(&p, p.first);
  Str all = {.arena = t->arena};
  for (uint32_t i = 0; mine == VLPC_OK && i < n; i++) str_printf(&all, "%s\n", text[i]);
  Hash128 h = hash_128(str_text(&all), all.n, 0);
  for (uint32_t k = 0; k < WORDS; k++) row[k] = h.at[k];
  VL_TRY(parts_share(&p, mine, t->diag));
  for (uint32_t i = 1; i < p.n; i++)
    if (memcmp(p.at, p.at + i * p.width, (size_t)p.width * sizeof *p.at) != 0)
      return apart(t, what);
  return VLPC_OK;
}

/* All but the place in the run. */
static VlStatus prepare(vlpc_trainer *t) {
  vlpc_module_info m = {.struct_size = sizeof m};
  if (!vlpc_artifact_module(t->artifact, &m)) {
    VlStatus s = diag_error(t->diag, DIAG_NO_MODULE, DIAG_NOWHERE,
                            "the artifact has no prompt module");
    diag_fix(t->diag, "compile it with --prompt MODULE.onnx --train");
    return s;
  }
  t->best = NAN;
  VL_TRY(read_config(t, m.method));
  VL_TRY(open_start(t));
  VL_TRY(read_data(t));
  VL_TRY(make_session(t, &m));
  describe_rows(t);
  VL_TRY(make_loader(t));
  VL_TRY(make_start(t));
  copy_values(t);
  VL_TRY(make_step(t));
  VL_TRY(make_optim(t));
  hash_model(t);
  return trainer_leads(t) ? take_folder(t) : VLPC_OK;
}

/* The processes of a team wait for each other twice: all read the run's folder when the first
** has it to itself, and none begins before all have read the same. */
VlStatus trainer_make(vlpc_trainer *t) {
  VlStatus s = prepare(t);
  const char *made_of[] = {t->config_text, t->data_hash, t->model_hash};
  VL_TRY(meet(t, s, made_of, VL_COUNT(made_of), "photos, artifact or configuration"));
  s = open_folder(t);
  const char *place[] = {arena_printf(t->arena, "%llu", (unsigned long long)t->done)};
  return meet(t, s, place, VL_COUNT(place), "checkpoint to go on from");
}
