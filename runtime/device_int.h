/* SPDX-License-Identifier: Apache-2.0 */
/* device_int.h - the drivers that devices.def names. */
#ifndef VLPC_RUNTIME_DEVICE_INT_H
#define VLPC_RUNTIME_DEVICE_INT_H

#include "runtime/device.h"

#define DEVICE(driver) extern const DeviceDriver device_##driver;
#include "runtime/devices.def"
#undef DEVICE

#endif
