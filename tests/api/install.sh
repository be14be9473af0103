#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh BUILD SOURCE WORK CC FOLDERS - installs the library to a
# folder of its own and builds the examples against it: classify.c once through
# pkg-config and once through find_package, the others through the latter.
set -eu
build=$1 source=$2 work=$3 cc=$4
rm -rf "$work"
mkdir -p "$work"
for part in $5; do cmake --install "$build/$part" --prefix "$work/prefix" > "$work/log"; done
pc=$(dirname "$(find "$work/prefix" -name vlpc.pc)")
libdir=$(dirname "$pc")
export PKG_CONFIG_PATH="$pc"
flags=$(pkg-config --cflags --libs vlpc)
$cc -std=c11 -Wall -Wextra -Werror "$source/examples/classify.c" $flags -o "$work/by_pkg_config"
cmake -G Ninja -S "$source/examples" -B "$work/by_cmake" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_C_COMPILER="$cc" >> "$work/log"
cmake --build "$work/by_cmake" >> "$work/log"
for program in "$work/by_pkg_config" "$work/by_cmake/classify" "$work/by_cmake/learn" \
    "$work/by_cmake/learn_memory"; do
  status=0
  LD_LIBRARY_PATH="$libdir" "$program" > "$work/out" 2> "$work/err" || status=$?
  test $status = 2 && grep -q '^usage: ' "$work/err"
  status=0
  LD_LIBRARY_PATH="$libdir" "$program" /nowhere.vlpc p.jpg cat > "$work/out" 2> "$work/err" || status=$?
  test $status = 1 && grep -q 'error\[E0101\]: /nowhere.vlpc' "$work/err"
done
