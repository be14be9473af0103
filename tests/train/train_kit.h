/* SPDX-License-Identifier: Apache-2.0 */
/* train_kit.h - a folder, an arena and a Diag for each test, and files in them. */
#ifndef VLPC_TESTS_TRAIN_TRAIN_KIT_H
#define VLPC_TESTS_TRAIN_TRAIN_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"

typedef struct {
  Arena *arena;
  Diag *diag;
  int start; /* the folder that the test was started in */
  char folder[24];
} Kit;

/* cmocka's set-up and tear-down: *state is a Kit, the current folder is empty. */
int kit_begin(void **state);
int kit_end(void **state);
#define kit_test(f) cmocka_unit_test_setup_teardown(f, kit_begin, kit_end)

/* Writes a file, making the folders of its path. */
void kit_put(const char *path, const void *bytes, size_t n);
void kit_put_text(const char *path, const char *text);
/* Copies a gzip file of tests/train/data, unpacked. */
void kit_unpack(const char *name, const char *path);
/* The only message is text; st is the status of its row.  Clears the Diag. */
void kit_expect(Kit *k, VlStatus st, DiagCode code, const char *text);

#endif
