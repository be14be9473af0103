#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# learn_memory.sh VLPC PROGRAM SOURCE FOLDER - examples/learn_memory.c learns its figures.
set -eu
vlpc=$1 program=$2 clip=$3/models/small_clip folder=$4
rm -rf "$folder"
mkdir -p "$folder" && cd "$folder"
"$vlpc" prompt coop --model "$clip/model.onnx" --tokenizer "$clip/tokenizer.json" -o coop.onnx -q
"$vlpc" compile "$clip/model.onnx" --tokenizer "$clip/tokenizer.json" \
  --preprocess "$clip/preprocessor_config.json" --prompt coop.onnx --train -o coop.vlpc -q
"$program" coop.vlpc set.safetensors >out
cat out
"$vlpc" prompt info set.safetensors | grep -q rings
awk '/of new photos/ { found = $1 < 60 && $(NF - 2) > 90 } END { exit !found }' out
