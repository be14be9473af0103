/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - this process's memory, as Linux tells them. */
#include "cli/machine.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* The line "<key>:  <n> kB" of a file, in bytes; 0 when there is none. */
static uint64_t read_kb(const char *path, const char *key) {
  FILE *f = fopen(path, "re");
  if (f == NULL) return 0;
  char text[256];
  unsigned long long kb = 0;
  size_t n = strlen(key);
  while (fgets(text, sizeof text, f) != NULL)
    if (strncmp(text, key, n) == 0 && sscanf(text + n, ": %llu", &kb) == 1) break;
  fclose(f);
  return (uint64_t)kb << 10;
}

uint64_t memory_peak(void) {
  return read_kb("/proc/self/status", "VmHWM");
}

uint64_t memory_private(void) {
  return read_kb("/proc/self/smaps_rollup", "Private_Dirty");
}

void pin_self(void) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  int first = 0;
  while (first < CPU_SETSIZE && !CPU_ISSET(first, &allowed)) first++;
  CPU_ZERO(&one);
  CPU_SET(first % CPU_SETSIZE, &one);
  sched_setaffinity(0, sizeof one, &one);
}
