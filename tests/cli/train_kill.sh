#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# train_kill.sh VLPC SOURCE FOLDER - a run that is killed at random moments and resumed
# gives the prompts of one that was not, byte for byte.  VLPC_TEST_LONG: 100 kills.
set -eu
vlpc=$1 source=$2 folder=$3
kills=3
[ -z "${VLPC_TEST_LONG:-}" ] || kills=100
rm -rf "$folder"
mkdir -p "$folder/photos" && cd "$folder"
ln -s "$source/models/photos/eurosat_train16" photos/train
seed=$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')
echo "seed $seed"

printf 'shots: 2\nbatch: 4\naugment: none\nsave_steps: 1\nepochs: 30\n' >c.yaml
run="train a.vlpc --data photos --config c.yaml --no-eval -q"

clip=$source/models/small_clip
"$vlpc" prompt coop --length 4 --model "$clip/model.onnx" -o m.onnx -q
"$vlpc" compile "$clip/model.onnx" --tokenizer "$clip/tokenizer.json" \
  --preprocess "$clip/preprocessor_config.json" --prompt m.onnx --train -o a.vlpc -q >/dev/null
"$vlpc" $run -o whole
killed=0 resume=""
while [ $killed -lt $kills ]; do
  [ -d parts ] && ls parts | grep -q '^step-.*ckpt$' && resume=--resume || resume=""
  [ -n "$resume" ] || rm -rf parts
  "$vlpc" $run -o parts $resume >log 2>&1 &
  child=$!
  seed=$(((seed * 75 + 74) % 65537))
  sleep "0.$(printf %03d $((seed % 700)))"
  if kill -9 $child 2>/dev/null; then killed=$((killed + 1)); fi
  wait $child 2>/dev/null || true
  if [ -f parts/prompts.safetensors ]; then
    cmp whole/prompts.safetensors parts/prompts.safetensors
    rm -rf parts
  fi
done
[ -d parts ] && ls parts | grep -q '^step-.*ckpt$' && resume=--resume || { rm -rf parts; resume=""; }
"$vlpc" $run -o parts $resume
cmp whole/prompts.safetensors parts/prompts.safetensors
echo "killed $killed times"

# An interrupt lets the step end, saves and says so.
"$vlpc" $run --epochs 3000 -o long >log 2>&1 &
child=$!
sleep 1
kill -INT $child
code=0
wait $child || code=$?
[ $code = 130 ] || { echo "exit code $code"; cat log; exit 1; }
ls long | grep -q '^step-.*ckpt$'
[ ! -f long/prompts.safetensors ]
