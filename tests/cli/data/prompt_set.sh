#!/bin/sh
# prompt_set.sh OUT METHOD CLASSES NAME ROWS COLUMNS ...: writes a prompt set of f32
# tensors whose values repeat 0.0555, 0.0129, 0.245 from another place in each.  Rows of
# more axes are "2,3"; 0 rows and 0 columns are a number.
set -eu
out=$1 method=$2 classes=$3
shift 3
head="{\"__metadata__\":{\"vlpc_prompt\":\"1\",\"method\":\"$method\",\"classes\":\"$classes\"}"
at=0 k=0
: >"$out.data"
while [ $# -gt 0 ]; do
  n=$(($(echo "$2*$3*4" | tr , '*'))) shape="$2,$3"
  [ "$3" = 1 ] && shape=$2
  [ "$2" = 0 ] && n=4 shape=
  head="$head,\"$1\":{\"dtype\":\"F32\",\"shape\":[$shape],\"data_offsets\":[$at,$((at + n))]}"
  yes 'abc=QRS<xyz>' | tr -d '\n' | tail -c +$((k % 3 * 4 + 1)) | head -c $n >>"$out.data"
  at=$((at + n)) k=$((k + 1))
  shift 3
done
head="$head}"
while [ $((${#head} % 8)) != 0 ]; do head="$head "; done
n=${#head}
{
  printf "\\$(printf %03o $((n % 256)))\\$(printf %03o $((n / 256)))\\0\\0\\0\\0\\0\\0"
  printf %s "$head"
  cat "$out.data"
} >"$out"
rm "$out.data"
