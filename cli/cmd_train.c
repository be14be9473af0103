/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_train.c - vlpc train: makes the artifact when ONNX files are given, runs the
** steps, tells how it goes, scores before and after. */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "base/train_entries.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/machine.h"
#include "cli/model.h"
#include "cli/plan.h"
#include "cli/progress.h"
#include "cli/team.h"
#include "cli/templates.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/plan.h"
#include "vlpc/vlpc_train.h"

typedef struct {
  Cli *c;
  Team team;
  const char *run, *file; /* the run's folder, the artifact */
  bool resume;
  const char **set;       /* NULL-terminated */
  uint32_t n_set;
  vlpc_trainer *t;
  vlpc_trainer_info info;
  uint32_t loss; /* whose plans are asked for */
  vlpc_train_step last;
  double val; /* accuracy of the last validation; NaN: none yet */
  vlpc_train_scores before, after; /* n = 0: not scored */
  int64_t start_ns;
  uint64_t start_step;
  Texts seeds; /* of --seeds; n = 0: one run */
  Json *runs;  /* where results of several runs go; NULL: there is one */
} Train;

/* ---- options --------------------------------------------------------------- */

static void add_item(Train *r, const char *item) {
  const char **at = arena_array(r->c->arena, const char *, r->n_set + 2u);
  if (r->n_set) memcpy(at, r->set, r->n_set * sizeof *at);
  at[r->n_set++] = item;
  r->set = at;
}

static VlStatus read_set(Train *r) {
  Cli *c = r->c;
  const char *pattern = NULL;
  const struct {
    OptId id;
    const char *key;
  } key[] = {{OPT_shots, "shots"}, {OPT_seed, "seed"}, {OPT_epochs, "epochs"},
               {OPT_precision, "precision"}};
  for (const char *p = opt(c, set); p && *p;) {
    size_t n = strcspn(p, " ");
    if (n) add_item(r, arena_strndup(c->arena, p, n));
    p += n + (p[n] == ' ');
  }
  for (size_t i = 0; i < VL_COUNT(key); i++)
    if (c->value[key[i].id])
      add_item(r, arena_printf(c->arena, "%s=%s", key[i].key, c->value[key[i].id]));
  VL_TRY(read_template(c, NULL, &pattern));
  if (pattern) add_item(r, arena_printf(c->arena, "template=%s", pattern));
  return VLPC_OK;
}

/* ---- an artifact from ONNX files ------------------------------------------- */

static bool is_onnx(const char *path) {
  size_t n = strlen(path), k = strlen(".onnx");
  return n > k && strcmp(path + n - k, ".onnx") == 0;
}

/* Writes the method's module into the run's folder, as the configuration says. */
static VlStatus write_module(Train *r, vlpc_compiler *k, vlpc_compile_options *to) {
  Cli *c = r->c;
  Config config;
  Dataset data;
  PlanSource from = {opt(c, recipe), opt(c, method), opt(c, config), r->set};
  DatasetSource photos = {opt(c, data), opt(c, data_root)};
  VL_TRY(plan_config(&from, c->arena, c->diag, &config));
  VL_TRY(plan_data(&config, &photos, c->arena, c->diag, &data));
  to->prompt = arena_printf(c->arena, "%s/module.onnx", r->run);
  if (strcmp(config.precision, "any") != 0) to->precision = config.precision;
  vlpc_prompt_options o = {.struct_size = sizeof o,
                           .method = config.method,
                           .output = to->prompt,
                           .models = {c->arg[0], c->n_args > 1 ? c->arg[1] : NULL},
                           .length = config.prompt_length,
                           .depth = config.prompt_depth,
                           .place = opt(c, place),
                           .phrase = config.phrase[0] ? config.phrase : NULL,
                           .class_rows = opt_given(c, csc),
                           .known_classes = data.n_classes,
                           .seed = (uint64_t)config.seed,
                           .tokenizer = to->tokenizer,
                           .loss_weights = config_weights(&config, c->arena)};
  return fail_compiler(c, k, vlpc_prompt_write(k, &o));
}

static VlStatus no_module(Train *r) {
  VlStatus s = diag_error(r->c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE,
                          "it is not said what to train");
  diag_expected(r->c->diag, "--method NAME, or --prompt MODULE.onnx");
  diag_fix(r->c->diag, "vlpc prompt list tells the methods");
  return s;
}

static VlStatus compile_artifact(Train *r) {
  Cli *c = r->c;
  vlpc_compiler *k;
  vlpc_compile_options o = {.struct_size = sizeof o,
                            .models = {c->arg[0], c->n_args > 1 ? c->arg[1] : NULL},
                            .output = r->file,
                            .tokenizer = model_companion(c, OPT_tokenizer, "tokenizer.json"),
                            .prompt = opt(c, prompt),
                            .precision = opt(c, precision),
                            .train = 1,
                            .cache_dir = cache_folder(c)};
  o.preprocess = model_companion(c, OPT_preprocess, "preprocessor_config.json");
  VL_TRY(opt_real(c, OPT_logit_scale, 0, &o.logit_scale));
  VL_TRY(compiler_open(c, &k));
  if (!o.prompt) VL_TRY(write_module(r, k, &o));
  return fail_compiler(c, k, vlpc_compile(k, &o));
}

/* Nothing of a run that is there is written over. */
static VlStatus make_artifact(Train *r) {
  Cli *c = r->c;
  int lock;
  r->file = arena_printf(c->arena, "%s/model.vlpc", r->run);
  if (opt_given(c, resume) || r->team.rank > 0) return VLPC_OK;
  if (!opt_given(c, prompt) && !opt_given(c, method) && !opt_given(c, recipe))
    return no_module(r);
  bool made = mkdir(r->run, 0777) == 0;
  VL_TRY(run_take(r->run, c->diag, &lock));
  if (made && !opt_given(c, quiet)) fprintf(stderr, "vlpc: made %s\n", r->run);
  VlStatus s = run_is_new(r->run, c->arena, c->diag);
  if (s == VLPC_OK) s = compile_artifact(r);
  run_give_back(lock);
  return s;
}

/* ---- the run --------------------------------------------------------------- */

static VlStatus fail(const Train *r, VlStatus s) {
  return cli_foreign(r->c, s, vlpc_trainer_error(r->t), vlpc_trainer_error_json(r->t));
}

static void log_line(void *user, vlpc_log_level level, const char *line) {
  Cli *c = user;
  if (opt_given(c, quiet) || level == VLPC_LOG_INFO) return;
  progress_clear();
  fprintf(stderr, "vlpc: warning: %s\n", line);
}

static void free_trainer(void *train) {
  Train *r = train;
  vlpc_trainer_free(r->t);
  r->t = NULL;
}

static VlStatus open_trainer(Train *r, const Model *m, const vlpc_session_options *session) {
  Cli *c = r->c;
  vlpc_team team = team_to_train(&r->team);
  vlpc_trainer_options o = {.struct_size = sizeof o,
                            .recipe = opt(c, recipe),
                            .config = opt(c, config),
                            .set = r->set,
                            .data = opt(c, data),
                            .data_root = opt(c, data_root),
                            .start = opt(c, start),
                            .run = r->run,
                            .resume = r->resume,
                            .session = session,
                            .team = r->team.size > 1 ? &team : NULL,
                            .log = log_line,
                            .log_user = c,
                            .cache_dir = session->cache_dir};
  VlStatus s = vlpc_trainer_new(m->artifact, &o, &r->t);
  if (!r->t) return diag_error(c->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
  VL_TRY(fail(r, s));
  r->info.struct_size = sizeof r->info;
  vlpc_trainer_get_info(r->t, &r->info);
  if (r->info.warning) log_line(c, VLPC_LOG_WARNING, r->info.warning);
  if (opt_given(c, verbose)) fputs(r->info.config, stderr);
  return VLPC_OK;
}

static VlStatus plan_of_step(void *user, uint32_t i, vlpc_plan *out) {
  const Train *r = user;
  return fail(r, vlpc_trainer_plan(r->t, r->loss, i, out));
}

/* With --memory: how each loss's step keeps within it, or that it does not. */
static VlStatus choose_plans(Train *r, const Model *m) {
  if (!opt_given(r->c, memory)) return VLPC_OK;
  for (r->loss = 0; r->loss < TRAIN_LOSSES; r->loss++) {
    Plans p = {.m = m, .entry = train_entries[r->loss].whole};
    VL_TRY(plans_take(r->c, &p, plan_of_step, r));
    if (p.n > 0 && !opt_given(r->c, quiet)) plans_print(&p, stderr);
  }
  return VLPC_OK;
}

static VlStatus score(const Train *r, const char *when, vlpc_train_scores *out) {
  out->struct_size = sizeof *out;
  if (opt_given(r->c, no_eval) || vlpc_trainer_split(r->t, VLPC_TEST) == 0)
    return VLPC_OK;
  VL_TRY(fail(r, vlpc_trainer_evaluate(r->t, VLPC_TEST, out)));
  progress_clear();
  if (!opt_given(r->c, quiet))
    fprintf(stderr, "vlpc: %s: %.2f %% of %" PRIu64 " test photos\n", when, 100 * out->top1,
            out->n);
  return VLPC_OK;
}

/* "epoch 3/50, loss 1.2345, 12 photos/s, 310 MiB, 12 s left" */
static void show(const Train *r) {
  double s = (double)(clock_ns() - r->start_ns) * 1e-9;
  uint64_t done = r->last.step - r->start_step, left = r->info.steps - r->last.step;
  char what[160], val[32] = "";
  if (!isnan(r->val)) snprintf(val, sizeof val, ", val %.1f %%", 100 * r->val);
  snprintf(what, sizeof what,
           "epoch %" PRIu32 "/%" PRIu32
           ", loss %.4f%s, %.0f photos/s, %.0f MiB, %.0f s left, step",
           r->last.epoch + 1, r->info.epochs, r->last.loss, val,
           s > 0 ? (double)(done * r->info.batch) / s : 0,
           (double)memory_peak() / 1048576.0, done ? s / (double)done * (double)left : 0);
  progress_show(what, r->last.step, r->info.steps);
}

/* A signal lets the step end, then the state is saved. */
static VlStatus stop(const Train *r) {
  VL_TRY(fail(r, vlpc_trainer_save(r->t)));
  progress_clear();
  if (!opt_given(r->c, quiet))
    fprintf(stderr, "vlpc: saved step %" PRIu64 " of %" PRIu64 "; go on with --resume\n",
            r->last.step, r->info.steps);
  return progress_check(r->c);
}

static VlStatus run_steps(Train *r) {
  r->start_ns = clock_ns();
  r->start_step = r->info.step;
  r->val = NAN;
  r->last = (vlpc_train_step){.struct_size = sizeof r->last, .step = r->info.step};
  for (;;) {
    vlpc_train_step now = {.struct_size = sizeof now};
    bool asked = false;
    VL_TRY(team_agree(&r->team, r->c, fail(r, vlpc_trainer_step(r->t, &now)), &asked));
    if (now.done) return VLPC_OK;
    r->last = now;
    if (!isnan(now.val_top1)) r->val = now.val_top1;
    show(r);
    if (asked) return team_agree(&r->team, r->c, stop(r), NULL);
  }
}

static void print_scores(Json *j, const char *key, const vlpc_train_scores *x) {
  if (x->n == 0) return;
  js_object(j, key);
  js_int(j, "photos", (int64_t)x->n);
  js_real(j, "top1", x->top1);
  js_real(j, "top5", x->top5);
  js_real(j, "macro_f1", x->macro_f1);
  js_real(j, "ece", x->ece);
  js_end(j);
}

static void tell_features(Train *r) {
  vlpc_trainer_get_info(r->t, &r->info);
  if (opt_given(r->c, quiet) || r->info.features_found + r->info.features_made == 0) return;
  fprintf(stderr, "vlpc: features of photos: %" PRIu64 " from the cache, %" PRIu64 " made\n",
          r->info.features_found, r->info.features_made);
}

static void result_json(const Train *r, Json *j) {
  js_text(j, "run", r->run);
  js_text(j, "prompts", arena_printf(r->c->arena, "%s/prompts.safetensors", r->run));
  js_int(j, "steps", (int64_t)r->last.step);
  if (r->last.step > r->start_step) js_real(j, "loss", r->last.loss);
  js_int(j, "photos", r->info.photos);
  js_int(j, "classes", r->info.n_classes);
  js_int(j, "features_found", (int64_t)r->info.features_found);
  js_int(j, "features_made", (int64_t)r->info.features_made);
  js_real(j, "train_s", (double)(clock_ns() - r->start_ns) * 1e-9);
  js_int(j, "peak_rss_bytes", (int64_t)memory_peak());
  print_scores(j, "before", &r->before);
  print_scores(j, "after", &r->after);
}

static void print_result(const Train *r) {
  if (!r->c->json) {
    printf("%s/prompts.safetensors: %" PRIu64 " steps", r->run, r->last.step);
    if (r->last.step > r->start_step) printf(", loss %.4f", r->last.loss);
    if (r->after.n) printf(", test accuracy");
    if (r->after.n && r->before.n) printf(" %.2f %% ->", 100 * r->before.top1);
    if (r->after.n) printf(" %.2f %%", 100 * r->after.top1);
    printf("\n");
    return;
  }
  Json alone = {0};
  if (!r->runs) alone = js_start(r->c);
  result_json(r, r->runs ? r->runs : &alone);
  if (!r->runs) js_print(&alone);
}

static VlStatus ready_artifact(Train *r) {
  Cli *c = r->c;
  VL_TRY(read_set(r));
  bool links = opt_given(c, method) || opt_given(c, prompt);
  return is_onnx(c->arg[0]) || links ? make_artifact(r) : VLPC_OK;
}

/* All processes get the same status. */
static VlStatus train_once(Train *r, Model *m) {
  const Team *t = &r->team;
  vlpc_session_options session;
  VL_TRY(team_agree(t, r->c, model_session_options(r->c, m, &session), NULL));
  VL_TRY(team_agree(t, r->c, open_trainer(r, m, &session), NULL));
  VL_TRY(team_agree(t, r->c, choose_plans(r, m), NULL));
  if (!r->resume) VL_TRY(team_agree(t, r->c, score(r, "before", &r->before), NULL));
  VL_TRY(run_steps(r));
  VL_TRY(team_agree(t, r->c, fail(r, vlpc_trainer_finish(r->t)), NULL));
  VL_TRY(team_agree(t, r->c, score(r, "after", &r->after), NULL));
  tell_features(r);
  if (t->rank == 0) print_result(r);
  free_trainer(r);
  return VLPC_OK;
}

/* ---- several seeds --------------------------------------------------------- */

/* A run in a folder of its own, which is gone on with where it was begun. */
static VlStatus train_seed(Train *r, Model *m, const char *seed) {
  const char *whole = r->run, **set = r->set;
  uint32_t n_set = r->n_set;
  RunFound found;
  r->run = arena_printf(r->c->arena, "%s/seed-%s", whole, seed);
  r->resume = opt_given(r->c, resume) &&
              run_latest(r->run, r->c->arena, NULL, &found) == VLPC_OK;
  r->before = r->after = (vlpc_train_scores){.n = 0};
  add_item(r, arena_printf(r->c->arena, "seed=%s", seed));
  if (r->runs) js_object(r->runs, NULL), js_text(r->runs, "seed", seed);
  VL_TRY(train_once(r, m));
  if (r->runs) js_end(r->runs);
  r->run = whole, r->set = set, r->n_set = n_set;
  return VLPC_OK;
}

static void print_spread(const Train *r, const double *top1) {
  double mean, sd;
  uint32_t n = r->seeds.n;
  mean_and_sd(top1, n, &mean, &sd);
  if (r->runs)
    js_real(r->runs, "mean", mean), js_real(r->runs, "sd", sd);
  else if (r->team.rank == 0)
    printf("%s: %" PRIu32 " seeds, test accuracy %.2f ± %.2f %%\n", r->run, n, 100 * mean,
           100 * sd);
}

static VlStatus train_seeds(Train *r, Model *m) {
  double *top1 = arena_array(r->c->arena, double, r->seeds.n);
  Json j = js_start(r->c);
  js_text(&j, "run", r->run);
  js_list(&j, "seeds");
  if (r->c->json && r->team.rank == 0) r->runs = &j;
  for (uint32_t i = 0; i < r->seeds.n; i++) {
    VL_TRY(train_seed(r, m, r->seeds.at[i]));
    top1[i] = r->after.top1;
  }
  js_end(&j);
  if (r->after.n) print_spread(r, top1);
  if (r->runs) js_print(&j);
  r->runs = NULL;
  return VLPC_OK;
}

/* ---- the command ----------------------------------------------------------- */

/* A number each, before anything is made. */
static VlStatus read_seeds(Train *r) {
  Cli *c = r->c;
  if (!opt_given(c, seeds)) return VLPC_OK;
  r->seeds = split_text(c, opt(c, seeds));
  for (uint32_t i = 0; i < r->seeds.n; i++) {
    int64_t seed;
    if (parse_i64(r->seeds.at[i], &seed) && seed >= 0) continue;
    VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE,
                            "the value of --seeds is wrong");
    diag_found(c->diag, "'%s'", opt(c, seeds));
    diag_expected(c->diag, "whole numbers with commas between them");
    return s;
  }
  return VLPC_OK;
}

static VlStatus train(Train *r, Model *m) {
  VL_TRY(team_agree(&r->team, r->c, ready_artifact(r), NULL));
  VL_TRY(team_agree(&r->team, r->c, model_open_artifact(r->c, r->file, m), NULL));
  if (r->seeds.n == 0) return train_once(r, m);
  mkdir(r->run, 0777); /* where it cannot be, the first run says so */
  return train_seeds(r, m);
}

VlStatus cmd_train(Cli *c) {
  Train *r = arena_one(c->arena, Train);
  Model m;
  *r = (Train){.c = c, .run = opt(c, output_run), .file = c->arg[0],
               .resume = opt_given(c, resume)};
  VL_TRY(opt_need(c, OPT_data));
  VL_TRY(opt_need(c, OPT_output_run));
  VL_TRY(read_seeds(r));
  arena_defer(c->arena, free_trainer, r);
  VL_TRY(team_start(c, &r->team));
  return train(r, &m);
}
