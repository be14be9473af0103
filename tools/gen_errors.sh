#!/bin/sh
# gen_errors.sh [--check]: writes docs/errors.md from base/errors.def and the
# statuses of include/vlpc/types.h; with --check only says whether it is as it
# would be written.
set -eu
cd "$(dirname "$0")/.."
made=$(mktemp)
trap 'rm -f "$made"' EXIT

statuses() {
  sed -nE 's@^ *VLPC_E_([A-Z_]+) = [0-9]+,? */\* (.*[^ ]) +([0-9]+) \*/$@\1 \3 \2@p' \
    include/vlpc/types.h
}

{
  cat <<'TEXT'
# Errors

```
vlpc: error[E0203]: clip.onnx: node 412 '/text/MatMul' (MatMul, opset 17): inner sizes differ
  found:    512 and 768
  expected: equal
  fix:      …
```

A message names file and place, what was found and expected, and the next step; `--json` gives the same parts by name.
A code is never used for anything else. `vlpc explain CODE` prints its line. This page is made by `tools/gen_errors.sh`.

## Statuses and exit codes

0 is success; `vlpc compare` exits with 1 when an array is out of tolerance.

| status | exit code | meaning |
|---|---|---|
TEXT
  statuses | awk '{ code = $2; name = $1; sub(/^[^ ]+ [^ ]+ /, "")
                    printf "| `%s` | %s | %s |\n", name, code, $0 }'
  cat <<'TEXT'

## Codes

E00 command and options · E01 files, memory, limits · E02 ONNX · E03 graph and shapes · E04 recognition and scheduling ·
E05 artifact · E06 code and devices · E07 images and preprocessing · E08 tokenizer and texts · E09 sessions ·
E10 prompt sets and checkpoints · E11 training

| code | status | what |
|---|---|---|
TEXT
  sed -nE 's@^E\((E[0-9]+), *[A-Z0-9_]+, *VLPC_E_([A-Z_]+), *"(.*)"\)$@| \1 | `\2` | \3 |@p' \
    base/errors.def | sort
} >"$made"

# Rows that the patterns above do not fit would be lost.
want=$(grep -c '^E(' base/errors.def)
have=$(grep -c '^| E[0-9]' "$made")
[ "$want" = "$have" ] || {
  echo "base/errors.def:1: $want rows, of which $have are of one line and in the usual form" >&2
  exit 1
}
if [ "${1:-}" = --check ]; then
  cmp -s "$made" docs/errors.md || {
    echo "docs/errors.md:1: not as base/errors.def states it; run tools/gen_errors.sh" >&2
    exit 1
  }
else
  cp "$made" docs/errors.md
  chmod 644 docs/errors.md
fi
