/* SPDX-License-Identifier: Apache-2.0 */
/* toy.h - small artifacts and a compiler library for them, so that the runtime
** is tested without the compiler.
**
** The kernels are C functions of toy_compiler.c, built as a library with the
** entry point of the real one; its emit hands out their machine code. */
#ifndef VLPC_TESTS_RUNTIME_TOY_H
#define VLPC_TESTS_RUNTIME_TOY_H

#include "runtime/artifact.h"
#include "runtime/manifest.h"

/* Numbers of the kernels, with operands and run-time sizes. */
enum {
  TOY_ADD,    /* out[n] = a[n] + b[n]; {n} */
  TOY_SUM,    /* out[m] = Σ_k x[m, k], k ascending; {m, k}; uses scratch */
  TOY_GATHER, /* out[n] = table[ids[n]]; {n, rows}: index fault when outside */
  TOY_FOLD,   /* out[n, e] = Σ_i x[n, i] for i % e; {n, k, e} */
  TOY_COUNT,  /* out[n, e] = ids of the row that are e modulo e; {n, k, e}; i64 ids */
  TOY_FAULT,  /* always fault 7; {} */
  TOY_SHIFT,  /* out[n, e] = x[n, e] + p[e]; {n, e} */
  TOY_KERNELS
};

/* An artifact with entries
**   "sum"     a, b [rows, cols] → total [rows] = Σ a + Σ b
**   "pick"    ids i64 [n] → picked [n] from a table of 8 weights 10, 11 … 17
**   "image"   pixels f32 [batch, 3, 8, 8] → features [batch, 4]
**   "text"    ids i64 [texts, 16] → features [texts, 4]
**   "broken"  x [n] → y [n], whose step always fails
** written to path.  flags below. */
enum {
  TOY_SEALED = 1,     /* with code in SECTION_code */
  TOY_LEAVES = 2,     /* entry "sum" reads one element past b */
  TOY_TOKENIZER = 4,  /* with the small tokenizer of the repository */
  TOY_NO_ROLES = 8,   /* manifest without image and text roles */
  TOY_EMIT_FAILS = 16, /* the toy compiler refuses these kernels */
  /* with a prompt module: trainables ctx [4, 8], bias [4] and head [classes, 4].
  ** Entry "prompts": ctx → rows [4] = Σ of its rows; "text" adds rows, "image"
  ** adds bias, and nothing needs head. */
  TOY_PROMPTS = 32,
  /* and with it, what else a module may ask for: "text" takes name_lengths and gives
  ** lengths (10 + each), "plain" is the text entry without prompts, and "image" takes
  ** text_features and plain_features and gives class_sums and plain_sums */
  TOY_CLASSES = 64,
  /* with TOY_PROMPTS: "text" takes image_features [1, 4] and adds them, not rows */
  TOY_FOLLOWS = 128,
  TOY_TEMPLATES = 256, /* with TOY_PROMPTS: two templates */
  TOY_SEALED_LOW = 512 /* with TOY_SEALED: code of the lowest level alone */
};
#define TOY_TEMPLATE_0 "itap of a {}."
#define TOY_TEMPLATE_1 "a {} in a video game."
void toy_write(const char *path, unsigned flags);
/* The toy's program and the text of its manifest, on the arena. */
Program toy_program(Arena *a, unsigned flags);
const char *toy_manifest(Arena *a, unsigned flags);
/* Base hash in the manifest of TOY_PROMPTS. */
#define TOY_BASE "000102030405060708090a0b0c0d0e0f"

/* The compiler library's path (built beside the tests). */
const char *toy_compiler(void);

/* A new private folder under the build's test folder; removed by toy_clean. */
void toy_folder(char out[256]);
void toy_clean(const char *folder);

#endif
