/* SPDX-License-Identifier: Apache-2.0 */
/* dim.h - sizes as affine expressions of a few symbols: c + a·batch + b·length.
**
** Expressions are interned in a DimTable, so equal ids mean equal sizes.  A
** size known at compile time is an expression without terms.  The arithmetic
** that leaves the affine forms (batch × classes) gives DIM_NONE and the caller
** reports it. */
#ifndef VLPC_BASE_DIM_H
#define VLPC_BASE_DIM_H

#include "base/arena.h"
#include "base/str.h"

#define DIM_MAX_TERMS 4
#define DIM_MAX_SYMS 64
#define DIM_MAX_NAME 255 /* bytes of a symbol's name */

typedef uint32_t DimId; /* 0 is DIM_NONE */
typedef uint32_t SymId;
#define DIM_NONE 0u

typedef struct {
  int64_t c;
  uint32_t n; /* terms, sorted by symbol, no zero coefficient */
  struct {
    SymId sym;
    int64_t k;
  } term[DIM_MAX_TERMS];
} Dim;

typedef struct DimTable DimTable;

DimTable *dim_table_new(Arena *a);
uint32_t dim_count(const DimTable *t); /* ids are 1 … count */
Dim dim_get(const DimTable *t, DimId d); /* d is one of them */
/* DIM_NONE when malformed: terms not ascending, a zero coefficient, a symbol
** that t does not have. */
DimId dim_intern(DimTable *t, const Dim *d);

DimId dim_const(DimTable *t, int64_t c);
/* The symbol of that name, old or new.  DIM_MAX_SYMS, which is no symbol, when
** the table is full or the name is not 1 … DIM_MAX_NAME bytes free of control
** characters and of '. */
SymId dim_symbol(DimTable *t, const char *name);
DimId dim_of_symbol(DimTable *t, SymId s); /* DIM_NONE when s is no symbol */
uint32_t dim_n_symbols(const DimTable *t);
const char *dim_symbol_name(const DimTable *t, SymId s);
/* False, and nothing changed, when the name is malformed or another symbol's. */
bool dim_rename(DimTable *t, SymId s, const char *name);

/* DIM_NONE when an operand is, or the result is not affine, has more than
** DIM_MAX_TERMS terms or overflows. */
DimId dim_add(DimTable *t, DimId a, DimId b);
DimId dim_sub(DimTable *t, DimId a, DimId b);
DimId dim_mul(DimTable *t, DimId a, DimId b);
/* Exact division only: by a number, or by an expression of which a is a
** multiple (50*batch / batch is 50, whatever the batch but 0). */
DimId dim_div(DimTable *t, DimId a, DimId b);

bool dim_is_const(const DimTable *t, DimId d, int64_t *out);
/* With value[s] for each symbol; false on overflow and for DIM_NONE. */
bool dim_eval(const DimTable *t, DimId d, const int64_t *value, int64_t *out);
/* "7", "batch", "50*batch", "2*batch+1", "batch-1*length"; a name that is not
** letters, digits, _ and . stands in single quotes; DIM_NONE prints "?".
** dim_parse reads what dim_print writes, in any order, without spaces; it makes
** the symbols it meets and gives DIM_NONE for anything else. */
void dim_print(const DimTable *t, DimId d, Str *s);
DimId dim_parse(DimTable *t, const char *text, size_t n);

#endif
