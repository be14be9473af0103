/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_pack.c - vlpc pack. */
#include <inttypes.h>

#include "cli/json.h"
#include "cli/prompt_sets.h"
#include "cli/templates.h"

static VlStatus class_names(Cli *c, const Model *m, Texts *out) {
  bool given = opt_given(c, labels) || opt_given(c, labels_file) || opt_given(c, classes);
  return !given && m->prompts != NULL ? labels_of_set(c, m, out) : read_labels(c, out);
}

VlStatus cmd_pack(Cli *c) {
  Model m;
  Texts classes;
  const char *prompt = NULL, *plain = opt_given(c, prompts) ? NULL : "a photo of a {}.";
  VL_TRY(opt_need(c, OPT_output_packed));
  VL_TRY(read_template(c, plain, &prompt)); /* NULL: the prompt set's own */
  VL_TRY(model_open(c, c->arg[0], &m));
  VL_TRY(class_names(c, &m, &classes));
  VL_TRY(fail_session(c, &m, vlpc_set_labels(m.session, classes.at, classes.n, prompt)));
  VL_TRY(fail_session(c, &m, vlpc_pack(m.session, opt(c, output_packed))));
  if (c->json) {
    Json j = js_start(c);
    js_text(&j, "output", opt(c, output_packed));
    js_int(&j, "classes", classes.n);
    js_print(&j);
  } else if (!opt_given(c, quiet)) {
    fprintf(stderr, "vlpc: wrote %s, %" PRIu32 " classes\n", opt(c, output_packed), classes.n);
  }
  return VLPC_OK;
}
