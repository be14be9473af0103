/* SPDX-License-Identifier: Apache-2.0 */
/* compiler.h - the compiler as one piece: ONNX files in, an artifact out.
**
**   read → import → lower → join → schedule → write
**
** The files of this folder only connect the others: compile.c runs the stages,
** weights.c evaluates constants into the weight section, sections.c makes the
** other sections, report.c says what was fused, entry.c is the library's only
** exported function.  Everything lies on one arena per call. */
#ifndef VLPC_COMPILER_COMPILER_H
#define VLPC_COMPILER_COMPILER_H

#include "frontend/frontend.h"
#include "passes/pass.h"
#include "passes/sched.h"
#include "runtime/artifact.h"
#include "runtime/compiler_api.h"
#include "runtime/manifest.h"

#define COMPILE_MAX_MODELS 2

enum { /* beside the SCHED_NO_ flags */
  COMPILE_NO_TEXT_ROWS = 1 << 16,
  COMPILE_NO_NARROW = 1 << 17,
  COMPILE_NO_ABSORB = 1 << 18
};

/* One compilation, filled stage by stage. */
typedef struct {
  const vlpc_compile_options *o;
  Arena *a;
  Diag *d;
  PassOpts pass;
  uint32_t sched_flags;
  bool bf16; /* the precision asked for */
  uint32_t n_models;
  FeModel *model[COMPILE_MAX_MODELS];
  Graph *imported[COMPILE_MAX_MODELS];
  PassResult lowered[COMPILE_MAX_MODELS];
  Graph *graph; /* the lowered graph of all towers */
  FuseReport report; /* of what the files say, before rewrites for speed */
  PassEntry entry[ENTRY_MAX];
  uint32_t n_entries;
  TextRows text_rows; /* entry.name NULL: there is none */
  Schedule plan;
  Str dump; /* what --dump asked for */
} Compile;

/* compile.c */
VL_MUST_USE VlStatus compile_lower(Compile *c);    /* up to graph and entries */
VL_MUST_USE VlStatus compile_schedule(Compile *c); /* up to plan */
VL_MUST_USE VlStatus compile_write(Compile *c);    /* the artifact */
/* Unmaps the models; the arena stays. */
void compile_close(Compile *c);

/* switches.c: "--no-x --check=eval …" into pass options and schedule flags. */
VL_MUST_USE VlStatus compile_switches(Compile *c);

/* weights.c */
/* Adds every constant of the plan to the open weight section, in order. */
VL_MUST_USE VlStatus weights_write(const Compile *c, ArtifactWriter *w);

/* sections.c */
void manifest_section(const Compile *c, Str *out);
void graph_section(const Compile *c, Str *out);
VL_MUST_USE VlStatus provenance_section(const Compile *c, Str *out);
VL_MUST_USE VlStatus seal_section(const Compile *c, ArtifactWriter *w);

/* report.c */
void compile_report(const Compile *c, vlpc_text_format format, Str *out);

/* texts.c: kernels and program as text, for people. */
void kernels_text(KernelList l, Str *out);
void program_text(const Program *p, KernelList l, Str *out);

/* inspect.c */
VL_MUST_USE VlStatus inspect_onnx(const char *path, vlpc_text_format format, Arena *a, Diag *d,
                                  Str *out);

#endif
