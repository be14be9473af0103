#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# symbols.sh LIB HEADER… - the library exports exactly the functions that the
# headers declare, and needs none of the compiler's libraries.
set -eu
lib=$1
shift
nm -D --defined-only "$lib" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort > exported.txt
sed -n '/^VLPC_API/,/;/p' "$@" | tr '\n' ' ' | grep -o 'vlpc_[a-z_]*(' | tr -d '(' | sort -u > declared.txt
diff declared.txt exported.txt
others=$(nm -D --defined-only "$lib" | awk '$2 !~ /[TA]/' | grep -vE ' VLPC_(TRAIN_)?0' || true)
test -z "$others" || { echo "not functions: $others"; exit 1; }
! readelf -d "$lib" | grep -E 'NEEDED.*(LLVM|protobuf|OpenCL)'
readelf -d "$lib" | grep -q 'SONAME.*libvlpc\(_train\)\?\.so\.0'
