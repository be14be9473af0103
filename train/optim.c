/* SPDX-License-Identifier: Apache-2.0 */
/* optim.c - the update rules, as torch.optim's single-tensor code has them.
**
** fmaf is the same number with or without an instruction for it; where the CPU
** has one the loops are built for it, since the library's function costs some
** ten times as much. */
#include "train/optim.h"

#include <fnmatch.h>
#include <math.h>

/* ---- rules -------------------------------------------------------------- */

typedef struct {
  float lr, decay, momentum;
  bool nesterov, first;
} SgdStep;

/* g += decay p;  v = momentum v + g (at first v = g);  p -= lr v, or with
** Nesterov p -= lr (g + momentum v). */
static inline __attribute__((always_inline)) void sgd(const OptimParam *p, const SgdStep *s) {
  for (uint64_t i = 0; i < p->n; i++) {
    float g = p->grad[i];
    if (s->decay != 0.0f) g = fmaf(p->value[i], s->decay, g);
    float v = g;
    if (s->momentum != 0.0f) {
      if (!s->first) v = p->moment1[i] * s->momentum + g;
      p->moment1[i] = v;
      if (s->nesterov) v = fmaf(v, s->momentum, g);
    }
    p->value[i] = fmaf(v, -s->lr, p->value[i]);
  }
}

typedef struct {
  float keep;            /* 1 - lr decay */
  float lerp;            /* 1 - beta1 */
  float beta2, square;   /* and 1 - beta2 */
  float step;            /* -lr / (1 - beta1^t) */
  float root;            /* sqrt(1 - beta2^t) */
  float eps;
} AdamwStep;

static inline __attribute__((always_inline)) void adamw(const OptimParam *p, const AdamwStep *s) {
  for (uint64_t i = 0; i < p->n; i++) {
    float g = p->grad[i], value = p->value[i] * s->keep;
    float m = fmaf(s->lerp, g - p->moment1[i], p->moment1[i]);
    float v = p->moment2[i] * s->beta2 + s->square * g * g;
    p->moment1[i] = m;
    p->moment2[i] = v;
    float root = sqrtf(v) / s->root + s->eps;
    p->value[i] = value + s->step * m / root;
  }
}

static void sgd_base(const OptimParam *p, const SgdStep *s) { sgd(p, s); }
static void adamw_base(const OptimParam *p, const AdamwStep *s) { adamw(p, s); }

typedef struct {
  void (*sgd)(const OptimParam *, const SgdStep *);
  void (*adamw)(const OptimParam *, const AdamwStep *);
} Rules;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void sgd_fma(const OptimParam *p, const SgdStep *s) {
  sgd(p, s);
}
__attribute__((target("avx2,fma"))) static void adamw_fma(const OptimParam *p,
                                                          const AdamwStep *s) {
  adamw(p, s);
}
static Rules choose_rules(void) {
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return (Rules){sgd_fma, adamw_fma};
  return (Rules){sgd_base, adamw_base};
}
#else
static Rules choose_rules(void) { return (Rules){sgd_base, adamw_base}; }
#endif

/* ---- groups ------------------------------------------------------------- */

/* The first group that matches a name; n_groups when none does. */
static uint32_t find_group(const OptimSpec *s, const char *name) {
  uint32_t g = 0;
  while (g < s->n_groups && s->group[g].match != NULL && fnmatch(s->group[g].match, name, 0) != 0)
    g++;
  return g;
}

static VlStatus check_groups(const Optim *o, Diag *d) {
  for (uint32_t g = 0; g < o->spec.n_groups; g++) {
    bool used = o->spec.group[g].match == NULL; /* the rest may be empty */
    for (uint32_t i = 0; i < o->n_params && !used; i++) used = o->param[i].group == g;
    if (used) continue;
    VlStatus st = diag_error(d, DIAG_OPTIM_GROUP, DIAG_NOWHERE,
                             "no parameter is in the group '%s'", o->spec.group[g].match);
    if (o->n_params > 0) diag_found(d, "parameters such as '%s'", o->param[0].name);
    diag_fix(d, "match names with * and ?; the first group that matches has the parameter");
    return st;
  }
  return VLPC_OK;
}

VlStatus optim_new(const OptimSpec *spec, const OptimParam *param, uint32_t n, Arena *a, Diag *d,
                   Optim **out) {
  Optim *o = arena_one(a, Optim);
  VL_CHECK(spec->n_groups <= OPTIM_GROUPS_MAX, "optim_new: too many groups");
  *o = (Optim){*spec, arena_array(a, OptimParam, n), n};
  for (uint32_t i = 0; i < n; i++) {
    OptimParam *p = &o->param[i];
    *p = (OptimParam){.name = arena_strdup(a, param[i].name), .value = param[i].value,
                      .n = param[i].n, .group = find_group(spec, param[i].name)};
    if (p->group == spec->n_groups) {
      VlStatus st = diag_error(d, DIAG_OPTIM_GROUP, DIAG_NOWHERE,
                               "the parameter '%s' is in no group", p->name);
      diag_fix(d, "add a group that matches '*'");
      return st;
    }
    p->moment1 = arena_array(a, float, p->n);
    if (spec->rule == OPTIM_adamw) p->moment2 = arena_array(a, float, p->n);
  }
  *out = o;
  return check_groups(o, d);
}

/* ---- steps -------------------------------------------------------------- */

double optim_lr(const Optim *o, uint32_t param, uint32_t epoch) {
  return schedule_lr(&o->spec.group[o->param[param].group].schedule, epoch);
}

static AdamwStep adamw_step(const OptimSpec *s, double lr, double decay, uint64_t t) {
  double one = 1.0 - pow(s->beta1, (double)t), two = 1.0 - pow(s->beta2, (double)t);
  return (AdamwStep){.keep = (float)(1.0 - lr * decay),
                     .lerp = (float)(1.0 - s->beta1),
                     .beta2 = (float)s->beta2,
                     .square = (float)(1.0 - s->beta2),
                     .step = (float)-(lr / one),
                     .root = (float)sqrt(two),
                     .eps = (float)s->eps};
}

void optim_step(Optim *o, uint32_t epoch) {
  Rules rules = choose_rules();
  for (uint32_t i = 0; i < o->n_params; i++) {
    OptimParam *p = &o->param[i];
    if (p->grad == NULL) continue;
    double lr = optim_lr(o, i, epoch), decay = o->spec.group[p->group].weight_decay;
    bool first = p->steps++ == 0;
    if (o->spec.rule == OPTIM_adamw) {
      AdamwStep s = adamw_step(&o->spec, lr, decay, p->steps);
      rules.adamw(p, &s);
    } else {
      SgdStep s = {(float)lr, (float)decay, (float)o->spec.momentum, o->spec.nesterov, first};
      rules.sgd(p, &s);
    }
  }
}
