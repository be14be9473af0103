/* SPDX-License-Identifier: Apache-2.0 */
/* program.h - the planned program: buffers, steps and entries as plain data.
**
** The compiler writes it, an artifact carries it, the runtime runs it.  It
** names kernels by number and knows nothing of what they compute: kernels are
** described in ir/kernel.h and reach a device as code.
**
** A buffer is an input, an output, a constant (a span of the artifact's weight
** section) or a temporary.  A step launches one kernel on (buffer, offset)
** arguments with a list of sizes, both affine in the program's symbols, which
** a session binds from its inputs' shapes.  Temporaries carry the steps
** between which they are live; the session lays them out in one arena when
** sizes are bound.
**
** An entry is one function of the artifact ("image", "text", "model"). */
#ifndef VLPC_BASE_PROGRAM_H
#define VLPC_BASE_PROGRAM_H

#include "base/diag.h"
#include "base/dim.h"
#include "base/dtype.h"

typedef enum { BUF_INPUT = 1, BUF_OUTPUT = 2, BUF_CONST = 3, BUF_TEMP = 4 } BufKind;

typedef struct {
  BufKind kind;
  VlDtype dtype;
  uint32_t rank; /* elements = product of the sizes */
  DimId size[VLPC_MAX_RANK];
  /* BUF_CONST: span of the weight section, offset a multiple of 64 */
  uint64_t offset, bytes;
  /* BUF_TEMP: first step that writes it and last that touches it */
  uint32_t first, last;
} ProgBuf;

typedef struct {
  uint32_t buf;
  DimId offset; /* in elements */
} ProgArg;

typedef struct {
  uint32_t kernel;           /* index in the kernel list */
  uint32_t arg, n_args;      /* range in Program.args; in the kernel's operand order */
  uint32_t size, n_sizes;    /* range in Program.sizes: the kernel's run-time sizes */
  const char *place;         /* nodes it computes, for messages and profiles */
} ProgStep;

typedef struct {
  const char *name;
  uint32_t buf; /* its shape is the buffer's */
} ProgPort;

typedef struct {
  const char *name;
  uint32_t in, n_in;     /* range in Program.ports */
  uint32_t out, n_out;   /* range in Program.ports */
  uint32_t step, n_steps;
} ProgEntry;

typedef struct {
  DimTable *dims;
  uint32_t n_bufs, n_args, n_sizes, n_steps, n_ports, n_entries, n_kernels;
  ProgBuf *bufs;
  ProgArg *args;
  DimId *sizes;
  ProgStep *steps;
  ProgPort *ports;
  ProgEntry *entries;
} Program;

#define PROG_MAX_ARGS 16   /* of one step */
#define PROG_MAX_SIZES 64  /* of one step */

/* Bytes of a program (little-endian, self-contained), on the arena. */
void program_write(const Program *p, Arena *a, const uint8_t **out, size_t *n);
/* Reads hostile bytes: every index, range and expression is checked, and no
** size is trusted before it is.  weight_bytes bounds the constants. */
VL_MUST_USE VlStatus program_read(const uint8_t *at, size_t n, uint64_t weight_bytes, Arena *a,
                                  DiagAt where, Diag *d, Program *out);
/* Every invariant a planner must keep (also run after reading): live ranges
** hold, every temporary is written before it is read, outputs are written. */
bool program_verify(const Program *p, Str *faults);

#endif
