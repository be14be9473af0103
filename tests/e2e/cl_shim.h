/* SPDX-License-Identifier: Apache-2.0 */
/* cl_shim.h - an OpenCL loader between vlpc and the real one, which counts calls and
** fails the one that a test names. */
#ifndef VLPC_TESTS_E2E_CL_SHIM_H
#define VLPC_TESTS_E2E_CL_SHIM_H

typedef struct {
  const char *function; /* whose calls fail; NULL: none do */
  int nth;              /* from which call on, counted from 1 */
  int once;             /* 1: that call alone */
  int error;            /* what it returns */
  int calls;            /* of the function so far */
  int builds;           /* of clBuildProgram, whatever the function */
  int spoilt;           /* the read, counted from 1, whose first bytes are wrong; 0: none */
  int reads;            /* so far, those that block alone */
} ClShim;

/* What the shim looks at; the test finds it by its name in the opened loader. */
#define CL_SHIM "vlpc_cl_shim"

#endif
