/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - the drivers of this library, from devices.def. */
#include "runtime/device.h"

#include <string.h>

#include "runtime/device_int.h"

static const DeviceDriver *const drivers[] = {
#define DEVICE(driver) &device_##driver,
#include "runtime/devices.def"
#undef DEVICE
};

const DeviceDriver *device_at(uint32_t i) { return i < VL_COUNT(drivers) ? drivers[i] : NULL; }

const DeviceDriver *device_find(const char *name) {
  for (uint32_t i = 0; i < VL_COUNT(drivers); i++) {
    if (strcmp(drivers[i]->name, name) == 0) return drivers[i];
  }
  return NULL;
}
