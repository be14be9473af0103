#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# eval_team.sh VLPC SOURCE FOLDER - 1, 2, 3 and 4 processes tell the same scores, byte for
# byte, of sets, of parts of the classes, and where scores are made of photos.  Skips where
# the build found no MPI.
set -eu
vlpc=$1 source=$2 folder=$3
. "$source/tests/cli/team.sh"
rm -rf "$folder"
mkdir -p "$folder" && cd "$folder"
for split in train test; do
  for class in Forest River SeaLake; do
    mkdir -p photos/$split/$class
    ln -s "$source/models/photos/eurosat_test/$class"/*[0-2]1.jpg photos/$split/$class
  done
done
clip=$source/models/small_clip
options="--data photos --threads 1 --batch 3"
for method in maple cocoop; do # images follow prompts; texts follow images
  "$vlpc" train "$clip/model.onnx" --method $method --data photos --shots 1 --epochs 1 --no-eval \
    --threads 1 -o $method -q >/dev/null
done

# same PROCESSES NAME ARGUMENT...: one process and these print and write the same.
same() {
  processes=$1 name=$2
  shift 2
  "$vlpc" eval "$@" $options -o $name.json >$name
  for k in $processes; do
    together $k eval "$@" $options -o $name.json$k >$name$k
    cmp $name $name$k
    cmp $name.json $name.json$k
  done
}
same '2 3 4' sets maple/model.vlpc maple maple/prompts.safetensors --per-class
same 4 parts maple/model.vlpc maple --classes-of both --json
same 3 whole cocoop/model.vlpc cocoop
grep -q 'mean of 2 sets' sets

# What one process tells is told once, whoever finds it.
code=0
together 3 eval maple/model.vlpc maple $options -o none/x.json >out 2>log || code=$?
[ $code = 7 ] && [ "$(grep -c 'error\[E' log)" = 1 ] || { cat log; exit 1; }
code=0
together 4 eval maple/model.vlpc none $options >out 2>log || code=$?
[ $code = 7 ] && [ "$(grep -c 'error\[E' log)" = 1 ] || { cat log; exit 1; }
echo nothing >photos/test/River/River_M.jpg
code=0
together 4 eval maple/model.vlpc maple $options >out 2>log || code=$?
[ $code = 3 ] && [ "$(grep -c 'M.jpg: this is not a JPEG' log)" = 1 ] || { cat log; exit 1; }
[ "$(grep -c 'error\[E' log)" = 1 ] || { cat log; exit 1; }

# All see the same photos.
mkdir -p seen/0 seen/1
for k in 0 1; do ln -s "$source/models/photos/eurosat_test/River" seen/$k/River; done
ln -s "$source/models/photos/eurosat_test/Forest" seen/1/Forest
code=0
mpirun --allow-run-as-root --oversubscribe -n 2 sh -c \
  'exec "$0" eval maple/model.vlpc maple --threads 1 --data seen/$OMPI_COMM_WORLD_RANK' \
  "$vlpc" >out 2>log || code=$?
grep -q 'the processes have other photos' log || { cat log; exit 1; }
[ $code = 4 ] && [ "$(grep -c 'error\[E' log)" = 1 ] || { cat log; exit 1; }
echo "1, 2, 3, 4 processes: the same"
