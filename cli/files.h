/* SPDX-License-Identifier: Apache-2.0 */
/* files.h - lists of images and of lines. */
#ifndef VLPC_CLI_FILES_H
#define VLPC_CLI_FILES_H

#include "base/vec.h"
#include "cli/cli.h"

typedef VEC(const char *) TextList;

/* The images that arguments name, in their order.  A folder stands for the
** images in it and in its folders, sorted by their bytes.  Errors: E0008,
** E0011; a name that is no folder is taken as it is. */
VL_MUST_USE VlStatus list_images(Cli *c, const char *const *arg, uint32_t n, TextList *out);

typedef struct {
  const char *const *at;
  uint32_t n;
} Texts;

/* What commas part, in order: one more than there are commas. */
Texts split_text(Cli *c, const char *text);
/* Lines of a text file, without the last empty one; "\r\n" ends a line too.
** Errors: those of io_read, E0007. */
VL_MUST_USE VlStatus read_lines(Cli *c, const char *path, Texts *out);
/* Class names: lines of a file, or names of the folders in a folder, sorted by their
** bytes.  Underscores become blanks, as the official learners have it.  Errors: E0007,
** E0011. */
VL_MUST_USE VlStatus read_classes(Cli *c, const char *path, Texts *out);
/* The labels of --labels, --labels-file or --classes.  Errors: E0006, E0007. */
VL_MUST_USE VlStatus read_labels(Cli *c, Texts *out);

typedef struct {
  const char *path; /* as the system resolves it */
  int32_t label;    /* index */
} ExpectRow;
typedef struct {
  ExpectRow *at; /* sorted by path */
  uint32_t n;
} Expect;

/* Rows of a .csv whose first line names the columns, among them "file" (below
** the .csv's folder) and "label" (its text or its index).  Errors: E0013. */
VL_MUST_USE VlStatus read_expect(Cli *c, const char *path, const Texts *labels, Expect *out);
/* Index of the label of an image; -1 when there is no row for it. */
int32_t expect_find(Cli *c, const Expect *e, const char *image);

#endif
