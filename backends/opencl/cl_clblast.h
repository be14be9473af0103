/* SPDX-License-Identifier: Apache-2.0 */
/* cl_clblast.h - products by CLBlast, where `vlpc tune` found them the fastest.
**
** CLBlast is opened at run time, once for a process, and only when a table or `vlpc tune
** --clblast` asks for it.  It keeps programs for the whole process, and releases of old did not
** guard them well: every call of it is made under one lock, by one thread at a time.
**
** It makes plain sums from rows: the weight's panels are copied to rows on the device at first
** use, and a kernel of cl_gemm_library.c adds bias, activation and residual. */
#ifndef VLPC_BACKENDS_OPENCL_CL_CLBLAST_H
#define VLPC_BACKENDS_OPENCL_CL_CLBLAST_H

#include "backends/opencl/cl_code.h"

/* Most rows of one call, and the most that `vlpc tune` tries. */
enum { CLBLAST_ROWS = 3200 };

/* 10503 for 1.5.3, as the file's name says it; 0: it cannot be opened or that says nothing, and
** *why says which. */
uint32_t cl_clblast(const char **why);
/* "CLBlast 1.5.3", on the arena. */
const char *cl_clblast_name(uint32_t version, Arena *a);
/* Whose gemms of a table (of: that these kernels have; NULL: all) are not computed by CLBlast
** though it names it, and why, on the arena; NULL: there are none. */
const char *cl_clblast_note(const ClTable *t, const KernelList *of, Arena *a);

/* Lets a code's gemms go to it, until the drop; once or again. */
void cl_clblast_hold(DeviceCode *c);
void cl_clblast_drop(DeviceCode *c); /* takes one that holds nothing */

/* One queue's memory, as large as the largest product of it so far.  The first two are given,
** zeros follow. */
typedef struct {
  DeviceCode *code;
  cl_command_queue queue;
  ClMemory *sums, *temp;
} ClProducts;

/* Enqueues the sums of a gemm that cl_gemm_is_library has; *sums is where they will be, in rows
** of cl_gemm_sums_row elements.  Fails with one of CLBlast's numbers or of OpenCL's. */
cl_int cl_products_launch(ClProducts *p, const DeviceLaunch *l, DeviceSpan *sums);
void cl_products_free(ClProducts *p);

#endif
