/* SPDX-License-Identifier: Apache-2.0 */
/* keys_int.h - patterns of the table, for keys_import.c and keys_export.c. */
#ifndef VLPC_CHECKPOINT_KEYS_INT_H
#define VLPC_CHECKPOINT_KEYS_INT_H

#include "base/str.h"
#include "checkpoint/keys.h"

/* True when a name fits; *number is what stands for "#", else 0. */
bool keys_match(const char *pattern, const char *name, uint32_t *number);
const char *keys_name(const char *pattern, uint32_t number, Arena *a);
/* DIAG_PROMPT_METHOD with the methods there are. */
VlStatus keys_no_method(const char *method, Arena *a, Diag *d);

#endif
