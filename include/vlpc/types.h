/* SPDX-License-Identifier: Apache-2.0 */
/* vlpc/types.h - words shared by both public headers: status codes, element
** types and shapes.
**
** A status says what kind of thing went wrong, coarsely; the text that names
** file, node, found / expected and the next step is read from the object that
** failed (vlpc_artifact_error, vlpc_session_error, …). */
#ifndef VLPC_TYPES_H
#define VLPC_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VLPC_VERSION_MAJOR 0
#define VLPC_VERSION_MINOR 1
#define VLPC_VERSION_PATCH 0
#define VLPC_VERSION_TEXT "0.1.0"

#if defined(__GNUC__)
#define VLPC_API __attribute__((visibility("default")))
#else
#define VLPC_API
#endif

/* Exit codes of the command are in the last column. */
typedef enum vlpc_status {
  VLPC_OK = 0,
  VLPC_E_INVALID_ARG = 1, /* a caller's argument or option is wrong      2 */
  VLPC_E_BAD_FILE = 2,    /* an input file breaks its format             3 */
  VLPC_E_UNSUPPORTED = 3, /* a valid model or option vlpc cannot do      4 */
  VLPC_E_LIMIT = 4,       /* a stated limit was passed                   6 */
  VLPC_E_NOMEM = 5,       /* no memory                                   6 */
  VLPC_E_IO = 6,          /* the system refused to read or write         7 */
  VLPC_E_CODEGEN = 7,     /* code for this CPU could not be made         5 */
  VLPC_E_DEVICE = 8,      /* no such device, or its driver failed        5 */
  VLPC_E_DEVICE_LOST = 9, /* the device stopped answering                5 */
  VLPC_E_NUMERIC = 10,    /* a value is not finite where it must be      8 */
  VLPC_E_CANCELLED = 11,  /* stopped on request                        130 */
  VLPC_E_CORRUPT = 12,    /* a checksum does not match                   3 */
  VLPC_E_MISMATCH = 13,   /* two inputs do not belong together           3 */
  VLPC_E_INTERNAL = 14    /* a fault of vlpc: please report              9 */
} vlpc_status;

/* Element types.  The values are part of the artifact format. */
typedef enum vlpc_dtype {
  VLPC_F32 = 1,
  VLPC_F16 = 2,
  VLPC_BF16 = 3,
  VLPC_F64 = 4,
  VLPC_I64 = 5,
  VLPC_I32 = 6,
  VLPC_I8 = 7,
  VLPC_U8 = 8,
  VLPC_BOOL = 9, /* one byte, 0 or 1 */
  VLPC_I16 = 10,
  VLPC_U16 = 11,
  VLPC_U32 = 12,
  VLPC_U64 = 13
} vlpc_dtype;

#define VLPC_MAX_RANK 8

#ifdef __cplusplus
}
#endif
#endif
