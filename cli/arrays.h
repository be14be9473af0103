/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.h - numpy arrays as inputs of an entry, found by name or alias. */
#ifndef VLPC_CLI_ARRAYS_H
#define VLPC_CLI_ARRAYS_H

#include "base/npz.h"
#include "cli/model.h"

/* True when name is the port's name, one of its aliases, or what another library
** calls the same input. */
bool port_answers(const vlpc_port *port, const char *name);
/* The array a port means, its own name before others; NULL: none. */
const NpyArray *array_for(const Npz *z, const vlpc_port *port);
/* The first input of an entry that has no array in z and that no prompt set gives;
** NULL: there is none. */
const char *missing_input(const Model *m, const char *entry, const Npz *z);
/* Sets an entry's inputs from z, integers and floats brought to the port's
** element type, and runs it.  Errors: E0009, and the library's. */
VL_MUST_USE VlStatus run_entry(Cli *c, Model *m, const char *entry, const Npz *z);
/* The outputs of the entry's last run; their data hold until it runs again. */
VL_MUST_USE VlStatus entry_outputs(Cli *c, const Model *m, const char *entry, Npz *out);

#endif
