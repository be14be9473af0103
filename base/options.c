/* SPDX-License-Identifier: Apache-2.0 */
#include "base/options.h"

#include <string.h>

bool options_copy(void *to, size_t to_size, const void *from) {
  size_t from_size;
  memset(to, 0, to_size);
  if (!from) return true;
  memcpy(&from_size, from, sizeof from_size);
  if (from_size < sizeof from_size) return false;
  for (size_t i = to_size; i < from_size; i++) {
    if (((const uint8_t *)from)[i]) return false;
  }
  memcpy(to, from, VL_MIN(to_size, from_size));
  return true;
}

bool options_out(void *to, const void *from, size_t from_size) {
  size_t to_size;
  if (!to) return false;
  memcpy(&to_size, to, sizeof to_size);
  if (to_size < sizeof to_size) return false;
  memset((uint8_t *)to + sizeof to_size, 0, to_size - sizeof to_size);
  size_t n = VL_MIN(to_size, from_size);
  memcpy((uint8_t *)to + sizeof to_size, (const uint8_t *)from + sizeof to_size,
         n - sizeof to_size);
  return true;
}
