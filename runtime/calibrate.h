/* SPDX-License-Identifier: Apache-2.0 */
/* calibrate.h - how far the features of an artifact are from those of another of
** the same model, on a few inputs.
**
** Inputs are photos (a folder, and the folders in it, whose names then stand in
** the texts), arrays named like the artifact's inputs (.npz), or seeded numbers.
** Prompts are as they start.  Both artifacts run here, on code made for this machine, and
** are closed with the arena of the result. */
#ifndef VLPC_RUNTIME_CALIBRATE_H
#define VLPC_RUNTIME_CALIBRATE_H

#include "base/diag.h"
#include "base/str.h"

typedef struct {
  const char *exact, *rounded;  /* artifacts */
  const char *inputs;           /* a folder, an .npz file, or NULL: seeded */
  const char *compiler_library; /* NULL: the usual places */
  const char *cache_dir;        /* of code; NULL: none */
} Calibration;

/* Adds JSON for SECTION_calibration to out:
**   {"against": "fp32", "inputs": "photos" | "arrays" | "seeded",
**    "image": {"rows": n, "cosine_min": x, "cosine_mean": x} | null, "text": the same,
**    "top1": {"rows": n, "classes": m, "same": k} | null}
** where top1 counts the images whose nearest text is the same.  Fails with CALIBRATE
** and as reading the inputs does. */
VL_MUST_USE VlStatus calibrate(const Calibration *c, Diag *d, Str *out);

#endif
