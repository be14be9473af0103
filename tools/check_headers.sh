#!/bin/sh
# check_headers.sh CC FLAGS…: every header of a folder compiles alone.  The public
# ones have tests of their own in tests/api.
set -eu
cd "$(dirname "$0")/.."
cc=$1
shift
folders=$(awk '$1 == "layer" { print $2 }' tools/layers.txt)
failed=0
for h in $(find $folders -name '*.h' | sort); do
  printf '#include "%s"\n' "$h" |
    "$cc" -x c -std=c11 -D_GNU_SOURCE -fsyntax-only -Werror -I. -Iinclude "$@" - || {
    echo "$h: does not compile alone" >&2
    failed=1
  }
done
exit $failed
