/* SPDX-License-Identifier: Apache-2.0 */
/* golden.h - reading golden files (gzip text, one fact a line) and finding the
** data that is not shipped. */
#ifndef VLPC_TESTS_RUNTIME_GOLDEN_H
#define VLPC_TESTS_RUNTIME_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A gzip file's text with a NUL added; NULL when it cannot be read.  The
** caller frees it. */
char *golden_read(const char *path, size_t *n);
/* Cuts the next line off *at, without its newline; NULL at the end. */
char *golden_line(char **at);
/* Cuts the next field off *at; fields are separated by sep. */
char *golden_field(char **at, char sep);
/* Path of a file below the data that is not shipped; false when there is none
** on this machine. */
bool shared_path(const char *rel, char out[512]);
/* Path of a file of the source tree. */
void source_path(const char *rel, char out[512]);

#endif
