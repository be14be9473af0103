/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_inspect.c - vlpc inspect; artifacts and ONNX models. */
#include <inttypes.h>
#include <string.h>

#include "base/dtype.h"
#include "base/str.h"
#include "cli/inspect.h"
#include "cli/model.h"

/* --- artifacts --- */

static const char *port_text(Cli *c, const vlpc_port *p) {
  Str s = {.arena = c->arena};
  str_printf(&s, "%s %s[", p->name, dtype_name(p->dtype));
  for (int32_t k = 0; k < p->rank; k++)
    if (p->symbol[k] != NULL)
      str_printf(&s, "%s%s", k > 0 ? ", " : "", p->symbol[k]);
    else
      str_printf(&s, "%s%" PRId64, k > 0 ? ", " : "", p->shape[k]);
  str_add(&s, "]");
  return str_text(&s);
}

static void print_ports(Cli *c, const Model *m, const char *entry, vlpc_direction direction) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, entry, direction, i, &p); i++)
    printf("    %s %s\n", direction == VLPC_INPUT ? "in " : "out", port_text(c, &p));
}

static void ports_json(const Model *m, const char *entry, vlpc_direction direction, Json *j) {
  vlpc_port p = {.struct_size = sizeof p};
  js_list(j, direction == VLPC_INPUT ? "inputs" : "outputs");
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, entry, direction, i, &p); i++) {
    js_object(j, NULL);
    js_text(j, "name", p.name);
    js_text(j, "dtype", dtype_name(p.dtype));
    js_list(j, "shape");
    for (int32_t k = 0; k < p.rank; k++)
      if (p.symbol[k] != NULL)
        js_text(j, NULL, p.symbol[k]);
      else
        js_int(j, NULL, p.shape[k]);
    js_end(j);
    js_list(j, "aliases");
    for (const char *const *a = p.aliases; a != NULL && *a != NULL; a++) js_text(j, NULL, *a);
    js_end(j);
    js_end(j);
  }
  js_end(j);
}

static void artifact_json(const Model *m, Json *j) {
  const vlpc_artifact_info *i = &m->info;
  js_text(j, "kind", "artifact");
  js_int(j, "container_version", i->container_version);
  js_text(j, "compiler_version", i->compiler_version);
  js_text(j, "model", i->model);
  js_text(j, "precision", i->precision);
  js_int(j, "file_bytes", (int64_t)i->file_bytes);
  js_int(j, "weight_bytes", (int64_t)i->weight_bytes);
  js_int(j, "kernels", i->n_kernels);
  js_int(j, "steps", i->n_steps);
  js_int(j, "image_size", i->image_size);
  js_int(j, "context_length", i->context_length);
  js_int(j, "embed_dim", i->embed_dim);
  js_real(j, "logit_scale", i->logit_scale);
  js_text(j, "tokenizer", i->tokenizer);
  js_int(j, "classes", i->n_classes);
  js_bool(j, "contains_code", i->has_code);
  calibration_json(m, j);
  js_list(j, "entries");
  for (uint32_t e = 0; vlpc_artifact_entry(m->artifact, e) != NULL; e++) {
    const char *entry = vlpc_artifact_entry(m->artifact, e);
    js_object(j, NULL);
    js_text(j, "name", entry);
    ports_json(m, entry, VLPC_INPUT, j);
    ports_json(m, entry, VLPC_OUTPUT, j);
    js_end(j);
  }
  js_end(j);
  js_list(j, "points");
  for (uint32_t p = 0; vlpc_artifact_point(m->artifact, p) != NULL; p++)
    js_text(j, NULL, vlpc_artifact_point(m->artifact, p));
  js_end(j);
}

static void sections_json(const Model *m, Json *j) {
  vlpc_section s = {.struct_size = sizeof s};
  js_list(j, "sections");
  for (uint32_t i = 0; vlpc_artifact_section(m->artifact, i, &s); i++) {
    js_object(j, NULL);
    js_text(j, "name", s.name);
    js_int(j, "offset", (int64_t)s.offset);
    js_int(j, "bytes", (int64_t)s.bytes);
    js_text(j, "hash", s.hash);
    js_end(j);
  }
  js_end(j);
}

static void print_sections(const Model *m) {
  vlpc_section s = {.struct_size = sizeof s};
  for (uint32_t i = 0; vlpc_artifact_section(m->artifact, i, &s); i++) {
    printf("    %-12s %12" PRIu64 " bytes at %-12" PRIu64 " %s\n", s.name, s.bytes, s.offset,
           s.hash);
  }
}

static void print_artifact(Cli *c, const Model *m) {
  const vlpc_artifact_info *i = &m->info;
  printf("%s: vlpc artifact, container %" PRIu32 ", made by vlpc %s\n", c->arg[0],
         i->container_version, i->compiler_version);
  printf("  model          %s, %s\n", i->model, i->precision);
  printf("  size           %" PRIu64 " bytes, of them weights %" PRIu64 "\n", i->file_bytes,
         i->weight_bytes);
  printf("  program        %" PRIu32 " kernels, %" PRIu32 " steps\n", i->n_kernels, i->n_steps);
  printf("  contains code  %s\n", i->has_code ? "yes" : "no");
  print_calibration(m);
  if (i->image_size > 0) printf("  image          %" PRId32 " pixels a side\n", i->image_size);
  if (i->context_length > 0) printf("  text           %" PRId32 " tokens\n", i->context_length);
  printf("  tokenizer      %s\n", i->tokenizer != NULL ? i->tokenizer : "none");
  if (i->embed_dim > 0)
    printf("  joint space    %" PRId32 ", logit scale %g\n", i->embed_dim, i->logit_scale);
  if (i->n_classes > 0) printf("  classes        %" PRIu32 "\n", i->n_classes);
  for (uint32_t e = 0; vlpc_artifact_entry(m->artifact, e) != NULL; e++) {
    printf("  entry %s\n", vlpc_artifact_entry(m->artifact, e));
    print_ports(c, m, vlpc_artifact_entry(m->artifact, e), VLPC_INPUT);
    print_ports(c, m, vlpc_artifact_entry(m->artifact, e), VLPC_OUTPUT);
  }
  if (vlpc_artifact_point(m->artifact, 0) != NULL) printf("  points        ");
  for (uint32_t p = 0; vlpc_artifact_point(m->artifact, p) != NULL; p++)
    printf(" %s", vlpc_artifact_point(m->artifact, p));
  if (vlpc_artifact_point(m->artifact, 0) != NULL) puts("");
  puts("  sections");
  print_sections(m);
}

static VlStatus inspect_artifact(Cli *c, Json *j) {
  Model m;
  VL_TRY(model_open_artifact(c, c->arg[0], &m));
  if (opt_given(c, layout)) return inspect_prompts(c, &m, j);
  if (j == NULL) {
    print_artifact(c, &m);
    return VLPC_OK;
  }
  artifact_json(&m, j);
  sections_json(&m, j);
  return VLPC_OK;
}

/* --- ONNX --- */

static VlStatus inspect_onnx(Cli *c, Json *j) {
  vlpc_compiler *k;
  const char *text;
  VL_TRY(compiler_open(c, &k));
  VL_TRY(fail_compiler(
      c, k, vlpc_compile_inspect(k, c->arg[0], j != NULL ? VLPC_JSON : VLPC_TEXT, &text)));
  if (j == NULL) {
    fputs(text, stdout);
    return VLPC_OK;
  }
  js_text(j, "kind", "onnx");
  js_raw(j, "onnx", text);
  return VLPC_OK;
}

static VlStatus inspect_kind(Cli *c, FileKind kind, Json *j) {
  switch (kind) {
  case FILE_ARTIFACT:
    return inspect_artifact(c, j);
  case FILE_ONNX:
    return inspect_onnx(c, j);
  case FILE_JPEG:
  case FILE_PNG:
    return inspect_image(c, c->arg[0], kind, j);
  case FILE_NPY:
  case FILE_NPZ:
    return inspect_arrays(c, c->arg[0], j);
  case FILE_SAFETENSORS:
    return inspect_safetensors(c, c->arg[0], j);
  case FILE_JSON:
    return inspect_json(c, c->arg[0], j);
  case FILE_GZIP:
    return inspect_vocabulary(c, c->arg[0], j);
  }
  VL_UNREACHABLE("kinds of files are listed above");
}

VlStatus cmd_inspect(Cli *c) {
  FileKind kind;
  VL_TRY(file_kind(c, c->arg[0], &kind));
  Json j = js_start(c);
  js_text(&j, "file", c->arg[0]);
  VL_TRY(inspect_kind(c, kind, c->json ? &j : NULL));
  if (c->json) js_print(&j);
  return VLPC_OK;
}
