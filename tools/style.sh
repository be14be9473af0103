#!/bin/sh
# The house rules that a program can see.  Prints one line per breach, as
# file:line: rule, and exits 1 when there is any.  A rule that proves wrong is
# changed here, in a commit that says why; no rule has a list of pardoned files
# beyond what the rule itself says.
set -eu
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8

compile_side="ir frontend passes models backends/llvm_cpu"
libraries="base checkpoint runtime train ir frontend passes models backends compiler"
code="$libraries cli include examples bench tests"
found=$(mktemp)
trap 'rm -f "$found"' EXIT

sources() { find "$@" \( -name '*.c' -o -name '*.h' \) | sort; }
tables() { find "$@" -name '*.def' | sort; }
texts() { sources $code; tables $code; find scripts bench -type f ! -path '*/__pycache__/*' | sort; }

# breach RULE: "file:line:text" lines on stdin become breaches.
breach() { sed -nE "s@^([^:]+:[0-9]+):.*@\1: $1@p" >>"$found"; }
# uses PATTERN FILES…: lines of code (not of comment blocks) that match.
uses() { pattern=$1; shift; grep -nE "$pattern" "$@" /dev/null | grep -vE '^[^:]+:[0-9]+:[ ]*(/\*|\*\*)' || true; }

call() { printf '(^|[^A-Za-z0-9_>."])(%s)[ ]*\(' "$1"; }

# Memory of a compilation comes from its arena.
uses "$(call 'malloc|calloc|realloc|free|strdup')" $(sources $compile_side) |
  breach "heap memory on the compile side: use the arena"
# Libraries print nothing, read no environment, never end the process.  vl_fault
# in base.c, which reports a fault of vlpc itself, is where all of it may end.
uses "$(call 'v?f?printf|f?puts|f?putc|putchar|perror|getenv|setlocale|exit|_exit|abort|system|popen|signal|rand|srand')" \
  $(sources $libraries | grep -v '^base/base\.c$') |
  breach "a library prints, reads the environment or ends the process"
# Functions without a bound, without an error, or with hidden state.
uses "$(call 'sprintf|vsprintf|gets|atoi|atol|atof|strtok')" $(sources $libraries cli) |
  breach "unbounded or silent C function"
uses '(^|[^A-Za-z0-9_])goto[ ]' $(sources ir passes frontend) | breach "goto"
uses '(^|[^A-Za-z0-9_"])(opencl|llvm|clblast|cuda)' $(sources ir passes frontend) |
  breach "a device's name where no device is known"

grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $(texts) | breach "unfinished work without an issue" || true
uses '(^|[^:"])//' $(sources $code) | breach "// comment: use /* */"
grep -nE '[	]| $' $(sources $code) $(tables $code) | breach "tab or blank at a line's end" || true
grep -nE '^.{101,}' $(sources $code) | breach "line over 100 columns" || true
# What is built elsewhere cannot be named here.
grep -nE '/work/|/tmp/|/home/|/opt/' $(texts) README.md HACKING.md docs/*.md |
  breach "path of one machine" || true

for f in $(sources $code) $(tables $code); do
  n=$(wc -l <"$f")
  [ "$n" -le 800 ] || echo "$f:$n: file over 800 lines" >>"$found"
done
for f in $(sources $code); do
  head -1 "$f" | grep -q '^/\* SPDX-License-Identifier: Apache-2.0 \*/$' ||
    echo "$f:1: no SPDX line" >>"$found"
  case ${f##*/} in *util* | *misc* | *common* | *helper*) echo "$f:1: name the concept" >>"$found" ;; esac
done
for f in $(sources $code | grep '\.h$'); do
  guard=$(echo "${f#include/vlpc/}" | sed 's/^/vlpc_/; s|^vlpc_tests/|vlpc_tests_|' | tr 'a-z/.-' 'A-Z___')
  grep -q "^#ifndef ${guard}\$" "$f" || echo "$f:1: guard is not $guard" >>"$found"
done

# Functions: at most 100 lines, 6 parameters (an arena and a diag do not count),
# no #if inside.
sources $libraries cli include bench examples | xargs awk '
  FNR == 1 { inside = 0; head = "" }
  !inside && /^[A-Za-z_].*\(/ && !/^(typedef|#)/ { head = $0; start = FNR; open = 1 }
  !inside && open && FNR > start { head = head " " $0 }
  !inside && open && /;[ ]*$/ { open = 0 }
  !inside && open && /\{[ ]*$/ {
    open = 0; inside = 1
    args = head
    while (gsub(/\([^()]*\)[ ]*\([^()]*\)/, "", args)) continue
    n = gsub(/,/, ",", args) + 1 - gsub(/(Arena|Diag) \*/, "", args)
    if (n > 6 && head !~ /=/) printf "%s:%d: %d parameters\n", FILENAME, start, n
  }
  inside && /^#[ ]*(if|ifdef|ifndef)/ { printf "%s:%d: #if inside a function\n", FILENAME, FNR }
  inside && /^}/ {
    if (FNR - start + 1 > 100) printf "%s:%d: function of %d lines\n", FILENAME, start, FNR - start + 1
    inside = 0
  }' >>"$found"

sort -u "$found"
[ ! -s "$found" ] || exit 1
