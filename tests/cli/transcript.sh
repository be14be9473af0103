#!/bin/sh
# transcript.sh FILE COMMAND_DIR TOOL_DIR: runs the commands of a transcript and
# compares all they print with what the transcript says.
#
#   # a remark
#   $ a command, run by sh in an empty folder
#   > a line it prints on stdout
#   ! a line it prints on stderr
#   ? its exit code, when it is not 0
#
# In the folder, data, small_clip, photos and checkpoints are links to what ships.  With
# BLESS=1 the transcript is rewritten instead.  Transcripts share the code that is made for
# them, in TOOL_DIR/../cache.
set -u
file=$1
PATH=$2:$3:$PATH
export PATH
root=$(cd "$(dirname "$file")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/home" "$work/run"
ln -s "$root/tests/cli/data" "$work/run/data"
ln -s "$root/models/small_clip" "$work/run/small_clip"
ln -s "$root/models/photos" "$work/run/photos"
ln -s "$root/tests/checkpoint/data" "$work/run/checkpoints"
unset VLPC_THREADS VLPC_ISA VLPC_CACHE_DIR VLPC_COMPILER_LIBRARY
export HOME="$work/home" XDG_CACHE_HOME="$3/../cache" TERM=dumb LC_ALL=C

run() {
  (cd "$work/run" && sh -c "$1") >"$work/out" 2>"$work/err" </dev/null
  code=$?
  sed 's/^/> /' "$work/out"
  sed 's/^/! /' "$work/err"
  [ $code = 0 ] || echo "? $code"
}

while IFS= read -r text; do
  case $text in
  '$ '*) printf '%s\n' "$text"; run "${text#??}" ;;
  '#'*|'') printf '%s\n' "$text" ;;
  esac
done <"$file" >"$work/now"

if [ "${BLESS:-}" = 1 ]; then cp "$work/now" "$file"; else diff -u "$file" "$work/now"; fi
