#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# train_team.sh VLPC SOURCE FOLDER - one run by 1, 2 and 4 processes, and one that goes on
# with another number of them after it was killed or interrupted: the same prompts, byte for
# byte, and accuracies.  Skips where the build found no MPI.
set -eu
vlpc=$1 source=$2 folder=$3
. "$source/tests/cli/team.sh"
rm -rf "$folder"
mkdir -p "$folder/photos" && cd "$folder"
ln -s "$source/models/photos/eurosat_train16" photos/train
for class in Forest River SeaLake; do # to test on
  mkdir -p photos/test/$class
  ln -s "$source/models/photos/eurosat_test/$class"/*[0-2]1.jpg photos/test/$class
done
printf 'shots: 2\nbatch: 5\nshards: 4\naugment: papers\nsave_steps: 1\nepochs: 3\n' >c.yaml
run="--data photos --config c.yaml -q --threads 1"

clip=$source/models/small_clip
"$vlpc" train "$clip/model.onnx" --method maple $run -o whole >out
"$vlpc" inspect whole/prompts.safetensors >/dev/null
for n in 2 4; do
  together $n train "$clip/model.onnx" --method maple $run -o together$n >out$n 2>log$n
  cmp whole/prompts.safetensors together$n/prompts.safetensors
  [ "$(grep -c together$n/prompts out$n)" = 1 ] # one process tells
  sed "s/^together$n/whole/" out$n | cmp out - # accuracies too
done

# Two are killed when they have saved, four go on until they are interrupted, one ends it.
saved() { ls parts 2>/dev/null | grep -q "^step-0*[$1].*ckpt$"; }
$launch 2 "$vlpc" train whole/model.vlpc $run -o parts >log 2>&1 &
while ! saved 1-9; do sleep 0.02; done
kill -9 $! $(pgrep -P $!) 2>/dev/null || true
wait $! 2>/dev/null || true
$launch 4 "$vlpc" train whole/model.vlpc $run -o parts --resume >log 2>&1 &
while ! saved 3-9; do sleep 0.02; done
kill -INT $(pgrep -P $!) 2>/dev/null || true # the launcher would kill them a second later
wait $! 2>/dev/null || true
[ -f parts/prompts.safetensors ] || grep -q 'E0010' log
"$vlpc" train whole/model.vlpc $run -o parts --resume >out
cmp whole/prompts.safetensors parts/prompts.safetensors

# One error for all; it is told once.
code=0
together 3 train whole/model.vlpc $run -o three >out 2>log || code=$?
[ $code = 4 ] && [ "$(grep -c 'error\[E1128\]' log)" = 1 ] || { cat log; exit 1; }
echo "1, 2, 4 processes: the same"
