/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_run.c - vlpc run. */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "cli/arrays.h"
#include "cli/json.h"

/* The entry to run: the one named, or the only one. */
static VlStatus pick_entry(Cli *c, const Model *m, const char **out) {
  *out = opt(c, entry);
  if (*out == NULL && m->info.n_entries == 1) *out = vlpc_artifact_entry(m->artifact, 0);
  if (*out != NULL) return VLPC_OK;
  Str names = {.arena = c->arena};
  for (uint32_t i = 0; vlpc_artifact_entry(m->artifact, i) != NULL; i++)
    str_printf(&names, "%s%s", i > 0 ? ", " : "", vlpc_artifact_entry(m->artifact, i));
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, (DiagAt){c->arg[0], NULL},
                          "has several entries; --entry names one");
  diag_expected(c->diag, "%s", str_text(&names));
  return s;
}

static void print_result(Cli *c, const char *entry, const Npz *z) {
  Json j = js_start(c);
  js_text(&j, "entry", entry);
  js_text(&j, "output", opt(c, output_npz));
  js_list(&j, "arrays");
  for (uint32_t i = 0; i < z->n; i++) {
    js_object(&j, NULL);
    js_text(&j, "name", z->at[i].name);
    js_text(&j, "dtype", dtype_name(z->at[i].dtype));
    js_list(&j, "shape");
    for (uint32_t k = 0; k < z->at[i].rank; k++) js_int(&j, NULL, z->at[i].size[k]);
    js_end(&j);
    js_end(&j);
  }
  js_print(&j);
}

VlStatus cmd_run(Cli *c) {
  Model m;
  Npz in, out;
  const char *entry;
  VL_TRY(opt_need(c, OPT_inputs));
  VL_TRY(opt_need(c, OPT_output_npz));
  VL_TRY(npz_read(opt(c, inputs), c->arena, c->diag, &in));
  VL_TRY(model_open(c, c->arg[0], &m));
  VL_TRY(pick_entry(c, &m, &entry));
  VL_TRY(run_entry(c, &m, entry, &in));
  VL_TRY(entry_outputs(c, &m, entry, &out));
  VL_TRY(npz_write(opt(c, output_npz), &out, c->arena, c->diag));
  if (c->json)
    print_result(c, entry, &out);
  else if (!opt_given(c, quiet))
    fprintf(stderr, "vlpc: wrote %s (%" PRIu32 " arrays)\n", opt(c, output_npz), out.n);
  return VLPC_OK;
}
