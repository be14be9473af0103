#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# embed_team.sh VLPC SOURCE FOLDER - 1, 2, 3 and 4 processes write the same rows, byte for
# byte, also where photos are passed over.  Skips where the build found no MPI.
set -eu
vlpc=$1 source=$2 folder=$3
. "$source/tests/cli/team.sh"
rm -rf "$folder"
mkdir -p "$folder/photos" && cd "$folder"
clip=$source/models/small_clip
for class in Forest River; do
  for photo in "$source/models/photos/eurosat_test/$class"/*1.jpg; do ln -s "$photo" photos/; done
done
photos=$(ls photos | wc -l)
"$vlpc" compile "$clip/model.onnx" --tokenizer "$clip/tokenizer.json" \
  --preprocess "$clip/preprocessor_config.json" -o clip.vlpc >log 2>&1
options="--threads 1 --batch 3"

"$vlpc" embed clip.vlpc photos -o whole.npy --threads 1 --json >json
grep -q "\"rows\":$photos," json
for k in 2 3 4; do
  together $k embed $options clip.vlpc photos -o part$k.npy --json >json$k
  cmp whole.npy part$k.npy
  [ "$(grep -c '"rows"' json$k)" = 1 ] # one process tells
done
printf 'a forest\na river\na lake\n' >texts
"$vlpc" embed clip.vlpc --texts texts -o texts.npy $options -q
together 2 embed $options clip.vlpc --texts texts -o texts2.npy -q
cmp texts.npy texts2.npy

# One photo is none: it is passed over, or ends them all, told once.
echo nothing >photos/M.jpg
together 4 embed $options clip.vlpc photos -o skip.npy --on-bad-image skip >log 2>&1
cmp whole.npy skip.npy
grep -q "skipped 1 of $((photos + 1)) images" log
code=0
together 4 embed $options clip.vlpc photos -o stop.npy >out 2>log || code=$?
[ $code = 3 ] && [ "$(grep -c 'M.jpg: this is not a JPEG' log)" = 1 ] || { cat log; exit 1; }
[ ! -e stop.npy ]

# The first process cannot write: all end.
code=0
together 3 embed $options clip.vlpc photos -o none/x.npy >out 2>log || code=$?
[ $code = 7 ] && [ "$(grep -c 'none/x.npy' log)" = 1 ] || { cat log; exit 1; }
echo "1, 2, 3, 4 processes: the same"
