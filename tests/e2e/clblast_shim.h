/* SPDX-License-Identifier: Apache-2.0 */
/* clblast_shim.h - a CLBlast between vlpc and the real one, which counts its products and makes
** them wrong in the ways that a test names. */
#ifndef VLPC_TESTS_E2E_CLBLAST_SHIM_H
#define VLPC_TESTS_E2E_CLBLAST_SHIM_H

typedef struct {
  int error;            /* what products return; 0: they are made */
  unsigned long rows;   /* products of more rows than this … */
  float alpha;          /* … are this times as large */
  int idle;             /* 1: products are not made, and nothing is said */
  int products, clears; /* calls so far */
  int within, overlaps; /* calls that run now, calls that began while another ran */
} ClBlastShim;

/* What the shim looks at; the test finds it by its name in the opened library. */
#define CLBLAST_SHIM "vlpc_clblast_shim"

#endif
