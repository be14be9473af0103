/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - option structs of any age: struct_size says how much a caller
** knows, and what it does not know keeps its default. */
#ifndef VLPC_BASE_OPTIONS_H
#define VLPC_BASE_OPTIONS_H

#include "base/base.h"

/* Copies an option struct of the caller's size into ours; zeros when it is NULL.
** false: struct_size is 0, or it sets fields we do not have. */
VL_MUST_USE bool options_copy(void *to, size_t to_size, const void *from);
/* Fills a caller's out struct (whose struct_size says how much) from ours. */
bool options_out(void *to, const void *from, size_t from_size);

#endif
