#!/bin/sh
# check_headers.sh CC FLAGS…: every header compiles alone, as C, and the public
# ones also as C++ where the compiler has it.
set -eu
cd "$(dirname "$0")/.."
cc=$1
shift
folders=$(awk '$1 == "layer" { print $2 }' tools/layers.txt)
failed=0
compile() {
  language=$1 header=$2
  shift 2
  printf '#include "%s"\n' "$header" | "$cc" -x "$language" -fsyntax-only -Werror "$@" - || {
    echo "$header: does not compile alone as $language" >&2
    failed=1
  }
}
for h in $(find $folders -name '*.h' | sort); do
  compile c "$h" -std=c11 -D_GNU_SOURCE -I. -Iinclude "$@"
done
has_cxx=1
echo 'int i;' | "$cc" -x c++ -fsyntax-only - 2>/dev/null || has_cxx=0
for h in include/vlpc/*.h; do
  compile c "$h" -std=c11 -pedantic -Wall -Wextra -Iinclude
  [ $has_cxx = 0 ] || compile c++ "$h" -std=c++11 -pedantic -Wall -Wextra -Iinclude
done
exit $failed
