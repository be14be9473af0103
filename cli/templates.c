/* SPDX-License-Identifier: Apache-2.0 */
/* templates.c - templates by the name of a data set. */
#include "cli/templates.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

static const struct {
  const char *set, *text;
} row[] = {
#define TEMPLATE(set, text) {#set, text},
#include "cli/templates.def"
};

/* Letters and digits only, in any case: oxford_pets is OxfordPets. */
static bool same_name(const char *a, const char *b) {
  for (;;) {
    while (*a == '_' || *a == '-' || *a == ' ') a++;
    if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) return false;
    if (*a == '\0') return true;
    a++, b++;
  }
}

VlStatus read_template(Cli *c, const char *absent, const char **out) {
  const char *given = opt(c, template);
  Str names = {.arena = c->arena};
  *out = given != NULL ? given : absent;
  if (given == NULL || strstr(given, "{}") != NULL) return VLPC_OK;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    *out = row[i].text;
    if (same_name(given, row[i].set)) return VLPC_OK;
    str_printf(&names, "%s%s", i > 0 ? ", " : "", row[i].set);
  }
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE,
                          "--template has no place {} for the class name");
  diag_found(c->diag, "'%s'", given);
  diag_expected(c->diag, "a text with {}, or one of %s", str_text(&names));
  return s;
}
