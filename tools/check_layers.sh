#!/bin/sh
# Checks every #include against tools/layers.txt: no folder looks up or sideways,
# into a header that is not outward, or at a library that is not its own.
# Prints one line per fault and exits 1 when there is any.
set -eu
cd "$(dirname "$0")/.."
folders=$(awk '$1 == "layer" { print $2 }' tools/layers.txt)
find $folders \( -name '*.c' -o -name '*.h' -o -name '*.def' \) | sort | xargs awk '
  function has(list, word) { return index(" " list " ", " " word " ") > 0 }
  function folder(path) { sub(/\/.*/, "", path); return path }
  function fault(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; faults++ }
  FILENAME == "tools/layers.txt" {
    if ($1 !~ /^(layer|outward|foreign)$/) next
    name = $2; sub(/:$/, "", name)
    rest = ""
    for (i = ($1 == "layer") ? 4 : 3; i <= NF; i++) rest = rest " " $i
    if ($1 == "layer") may[name] = rest
    if ($1 == "outward") outward[name] = rest
    if ($1 == "foreign") foreign[name] = rest
    next
  }
  /^[ \t]*#[ \t]*include/ {
    match($0, /[<"][^>"]+/)
    inc = substr($0, RSTART + 1, RLENGTH - 1)
    here = folder(FILENAME); there = folder(inc)
    for (f in foreign) if (index(inc, f) == 1) {
      ok = 0
      n = split(foreign[f], who, " ")
      for (i = 1; i <= n; i++) if (index(FILENAME, who[i] "/") == 1) ok = 1
      if (!ok) fault("<" inc "> is for" foreign[f] " only")
      next
    }
    if ($0 ~ /<[^>]+>/ || there == "vlpc" || there == here) next
    if (inc !~ /\//) { fault("\"" inc "\": write paths from the root"); next }
    if (!has(may[here], there)) { fault(here " may not include \"" inc "\""); next }
    sub(/^[^\/]*\//, "", inc)
    if (there in outward && !has(outward[there], inc))
      fault("\"" there "/" inc "\" is private to " there)
  }
  END { exit faults > 0 }' tools/layers.txt || exit 1
