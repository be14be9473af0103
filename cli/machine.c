/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - the clock and this process's memory, as Linux tells them. */
#include "cli/machine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sum of the lines "<key>  <n> kB" of a file, in bytes. */
static uint64_t sum_kb(const char *path, const char *const *key, size_t n_keys) {
  FILE *f = fopen(path, "re");
  if (f == NULL) return 0;
  char text[256];
  uint64_t sum = 0;
  while (fgets(text, sizeof text, f) != NULL)
    for (size_t i = 0; i < n_keys; i++) {
      unsigned long long kb;
      size_t n = strlen(key[i]);
      if (strncmp(text, key[i], n) == 0 && sscanf(text + n, ": %llu", &kb) == 1) sum += kb << 10;
    }
  fclose(f);
  return sum;
}

uint64_t memory_peak(void) {
  return sum_kb("/proc/self/status", (const char *const[]){"VmHWM"}, 1);
}

uint64_t memory_private(void) {
  return sum_kb("/proc/self/smaps_rollup", (const char *const[]){"Private_Clean", "Private_Dirty"},
                2);
}
