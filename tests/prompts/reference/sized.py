# SPDX-License-Identifier: Apache-2.0
"""Writes goldens of real sizes, small.npz (models/small_clip) and b16.npz:

    python sized.py VLPC tests/prompts/data

Modules are written by `vlpc prompt` with seed 7 and used with the values that
they start with (rows at random: --phrase ""), so no parameter need be stored.
Pixel i is (37 i mod 101) / 50 - 1.  Keys are CASE/tokens, CASE/template_tokens
where a frozen tower is read, CASE/image, CASE/text (features, not of unit length)
and CASE/logits; sized.txt has the cases'
methods and options.  b16 is `vlpc model clip --size b16`, seed 1.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import methods
from hosts import load_small, load_written

IMAGES, SIDE, STOP, DUMMY = 2, 224, 269, 343
NAMES = [[1000], [1201, 1202], [1400, 1401, 1402], [1600]]
WORDS = ["--phrase", ""]
# case: method, options, whether its text rows would start as words, formula, its settings
CASES = {
    "coop_middle": ("coop", "--length 4 --place middle", False, "coop", {"place": "middle"}),
    "coop_csc_front": ("coop", "--length 3 --csc --class-count 4 --place front", False, "coop", {"place": "front"}),
    "cocoop": ("cocoop", "", True, "cocoop", {}),
    "deep_text": ("deep-text", "--depth 3", True, "deep_text", {}),
    "vpt_shallow": ("vpt-shallow", "", False, "vpt", {}),
    "vpt_deep": ("vpt-deep", "", False, "vpt", {}),
    "vpt_dpt_d5": ("vpt-dpt", "--length 6 --depth 5", False, "vpt_dpt", {}),
    "ivlp": ("ivlp", "--length 4 --depth 2 --vision-length 3 --vision-depth 9", True, "ivlp", {}),
    "maple": ("maple", "--length 3 --depth 4", True, "maple", {}),
    "maple_unified": ("maple-unified", "--depth 4", True, "maple_unified", {}),
    "provp": ("provp", "", False, "provp", {}),
    "dpt": ("dpt", "", False, "dpt", {}),
    "dpt_cavpt": ("dpt-cavpt", "--class-count 4 --top-classes 2", False, "dpt_cavpt", {"top": 2}),
    "clip_adapter": ("clip-adapter", "", False, "clip_adapter", {}),
}


def token_rows(words, begin, end):
    ids = np.zeros((len(NAMES), 77), np.int64)
    for c, name in enumerate(NAMES):
        row = [begin, *words, *name, STOP, end]
        ids[c, :len(row)] = row
    return torch.from_numpy(ids)


def run_case(vlpc, clip, host, ends, folder, case):
    method, options, words, formula, setting = CASES[case]
    path = folder / "module.onnx"
    subprocess.run([vlpc, "prompt", method, *host, *options.split(), *(WORDS if words else []), "--seed", "7",
                    "-o", str(path), "-q"], check=True)
    module = onnx.load(path)
    declaration = json.loads(next(e.value for e in module.metadata_props if e.key == "vlpc.prompt"))
    learned = {t["name"] for t in declaration["trainable"]}
    p = {i.name: torch.tensor(numpy_helper.to_array(i)).to(clip.scale.dtype)
         for i in module.graph.initializer if i.name in learned}
    i = torch.arange(IMAGES * 3 * SIDE * SIDE)
    x = {"pixels": ((i * 37 % 101).to(clip.scale.dtype) / 50 - 1).reshape(IMAGES, 3, SIDE, SIDE),
         "tokens": token_rows([DUMMY] * declaration.get("slot", {"rows": 4})["rows"], *ends),
         "template_tokens": token_rows([DUMMY] * 4, *ends)}
    with torch.no_grad():
        r = getattr(methods, formula)(clip, p, x, **setting)
    out = {"image": r.image, "text": r.text, "logits": r.logits}
    out = {f"{case}/{k}": v.numpy().astype(np.float32) for k, v in out.items()}
    out |= {f"{case}/tokens": x["tokens"].numpy()}
    if any(t["from"].startswith("frozen.") for t in declaration["taps"]):
        out[f"{case}/template_tokens"] = x["template_tokens"].numpy()
    return out


def main(vlpc, out):
    out, small = pathlib.Path(out), "models/small_clip/model.onnx"
    lines = [" ".join([case, c[0], *c[1].split(), *(["--phrase", "-"] if c[2] else [])]) for case, c in CASES.items()]
    (out / "sized.txt").write_text("\n".join(lines) + "\n")
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([vlpc, "model", "clip", "--size", "b16", "-o", str(folder / "b16"), "-q"], check=True)
        b16 = load_written(folder / "b16" / "model.onnx", 12, 8)
        hosts = {"small": (load_small(small), ["--model", small], (4512, 4513)),
                 "b16": (b16, ["--size", "b16"], (49406, 49407))}
        for name, (clip, host, ends) in hosts.items():
            z = {}
            for case in CASES:
                z |= run_case(vlpc, clip, host, ends, folder, case)
                print(name, case, z[f"{case}/logits"][0], flush=True)
            np.savez_compressed(out / f"{name}.npz", **z)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
