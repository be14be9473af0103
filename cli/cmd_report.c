/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_report.c - vlpc report: a run's files to one page. */
#include "cli/json.h"
#include "cli/report.h"

VlStatus cmd_report(Cli *c) {
  Report r;
  Str page = {.arena = c->arena};
  const char *path = opt(c, output_page);
  if (!path) path = arena_printf(c->arena, "%s/report.html", c->arg[0]);
  VL_TRY(report_read(c, c->arg[0], &r));
  VL_TRY(report_page(&r, c->diag, &page));
  VL_TRY(io_write_file(path, str_text(&page), page.n, c->diag));
  if (c->json) {
    Json j = js_start(c);
    js_text(&j, "output", path);
    js_int(&j, "series", r.series.n);
    js_int(&j, "sets", r.evaluation.n_sets);
    js_print(&j);
  } else if (!opt_given(c, quiet)) {
    fprintf(stderr, "vlpc: wrote %s\n", path);
  }
  return VLPC_OK;
}
