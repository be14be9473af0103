/* SPDX-License-Identifier: Apache-2.0 */
/* tune_table.h - tables of vlpc tune as a test wants them. */
#ifndef VLPC_TESTS_E2E_TUNE_TABLE_H
#define VLPC_TESTS_E2E_TUNE_TABLE_H

#include "tests/e2e/e2e_kit.h"

/* Tunes the artifact for the first OpenCL device; text is the compiler's, as JSON. */
vlpc_status tune(const char *artifact, const char *folder, bool clblast, const char **text);
/* Gives every gemm of the folder's table to this version of CLBlast; fails the test when there
** is none. */
void table_names_clblast(const char *folder, uint32_t version);
/* A session on the device that follows the folder's table; *warned counts what it is told. */
Line tuned_line(const char *artifact, const char *folder, int *warned);

#endif
