/* SPDX-License-Identifier: Apache-2.0 */
/* official_base.h - the CLIP on which the papers' own code was run for the official cases.
**
** vlpc writes CLIP "official"; its weights are then drawn as numpy draws them: by name from
** Generator(PCG64([20240607, crc32("base"), crc32(NAME)])).standard_normal, times a standard
** deviation, as float32; norms' weights plus 1 (NumPy 1.17 and later: NEP 19, SeedSequence by
** O'Neill's seed_seq_fe128, PCG64 XSL-RR, the ziggurat of Marsaglia and Tsang). */
#ifndef VLPC_TESTS_PROMPTS_OFFICIAL_BASE_H
#define VLPC_TESTS_PROMPTS_OFFICIAL_BASE_H

#include "base/npz.h"

/* Writes it and returns the path of model.onnx; fails the test unless all weights together have
** the hash that the numbers of numpy have.  tables: ki, wi, fi of numpy's ziggurat. */
const char *official_base(const Npz *tables);

#endif
