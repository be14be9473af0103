#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of prompt sets and checkpoints.

  prompts.py safetensors               tests/base/data/golden.safetensors
  prompts.py checkpoints --shared DIR  tests/checkpoint/data/: official checkpoints without
                                       the storages of frozen keys, what they hold (after3.npz),
                                       and forms.pth.tar, old.pth of torch.save
  prompts.py sets                      tests/cli/data/{tiny_coop,small_words}.safetensors
  prompts.py check FILE...             reads what vlpc wrote with torch.load(weights_only=True)
"""
import argparse
import pathlib
import pickletools
import zipfile
from collections import OrderedDict

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/checkpoint/data"
KEEP = {  # official key → name in CASE.npz
    "coop_end_m4": {"ctx": "prompt_learner.ctx"},
    "kgcoop_w8": {"ctx": "prompt_learner.ctx"},
    "provp_m8": {"prompt_embeddings": "prompt_learner.prompt_embeddings"},
    "vpt_deep_m4_d3": {k: k for k in (
        "image_encoder.VPT", "image_encoder.transformer.resblocks.1.VPT_shallow",
        "image_encoder.transformer.resblocks.2.VPT_shallow")},
}


def golden_safetensors():
    from safetensors.numpy import save_file
    types = ["u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8"]
    arrays = {f"x.{t}": (np.arange(6) + i).astype("<" + t).reshape(2, 3)
              for i, t in enumerate(types)}
    arrays["b"] = np.array([True, False, True])
    arrays["a"] = np.array(0.5, "<f4")
    arrays["empty"] = np.zeros((0, 7), "<f4")
    save_file(arrays, ROOT / "tests/base/data/golden.safetensors", {"method": 'co"op\u00e9'})


def storage_keys(pickle):
    """Key of a state dictionary → its storage's number, from the pickle's words."""
    words = [a for op, a, _ in pickletools.genops(pickle) if op.name == "BINUNICODE"]
    numbers = [w for w in words if w.isdigit()]
    out = OrderedDict()
    for i, w in enumerate(words):
        nxt = [x for x in words[i + 1:i + 3] if x.isdigit()]
        if not w.isdigit() and w not in ("storage", "cpu") and nxt:
            out.setdefault(w, nxt[0])
    assert numbers
    return out


def official(shared):
    arrays = {}
    for case, keys in KEEP.items():
        src = zipfile.ZipFile(shared / f"data/official/checkpoints/{case}.pth.tar")
        prefix = src.namelist()[0].split("/")[0]
        number = storage_keys(src.read(f"{prefix}/data.pkl"))
        keep = {f"{prefix}/data/{number[k]}" for k in keys}
        with zipfile.ZipFile(OUT / f"{case}.pth.tar", "w") as dst:
            for name in src.namelist():
                if "/data/" not in name or name in keep:
                    dst.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), src.read(name))
        z = np.load(shared / f"data/official/cases/{case}.npz")
        for key, name in keys.items():
            for tail in ("", "#rows", "#rowidx"):
                if f"after3/{name}{tail}" in z.files:
                    arrays[f"{case}/{key}{tail}"] = z[f"after3/{name}{tail}"]
    np.savez(OUT / "after3.npz", **arrays)


def forms():
    import torch
    count = torch.arange(24, dtype=torch.float32)
    state = OrderedDict()
    state["module.f32"] = count.reshape(4, 6)
    state["module.turned"] = count.reshape(4, 6).t()  # the same storage
    state["module.part"] = count.reshape(4, 6)[1:3, 2:5]
    state["f16"] = count.reshape(2, 12).to(torch.float16)
    state["bf16"] = count.to(torch.bfloat16)
    state["f64"] = count.reshape(2, 3, 4).to(torch.float64)
    state["parameter"] = torch.nn.Parameter(count[:6].clone())
    state["scalar"] = torch.tensor(4.5)
    state["empty"] = torch.zeros(0, 3)
    state["steps"] = torch.tensor([7, 8])
    optimizer = torch.optim.SGD([state["parameter"]], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    file = {"state_dict": state, "epoch": 3, "optimizer": optimizer.state_dict(),
            "scheduler": {"successor": scheduler}}
    torch.save(file, OUT / "forms.pth.tar")
    torch.save({"state_dict": {"a": count}}, OUT / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"a": count, "b": count[:2].clone()}, OUT / "plain.pt", pickle_protocol=4)


def sets():
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer
    out, small = ROOT / "tests/cli/data", ROOT / "models/small_clip"
    about = {"vlpc_prompt": "1", "method": "coop"}
    ctx = (0.02 * np.cos(np.arange(4 * 64).reshape(4, 64))).astype("<f4")
    save_file({"ctx": ctx}, out / "tiny_coop.safetensors",
              about | {"classes": '["cat","dog","cup"]'})
    tokens = Tokenizer.from_file(str(small / "tokenizer.json"))
    ids = tokens.encode("a photo of a", add_special_tokens=False).ids[:4]
    table = next(numpy_helper.to_array(i) for i in onnx.load(small / "model.onnx").graph.initializer
                 if len(i.dims) == 2 and i.dims[1] == 192 and i.dims[0] > 4000)
    save_file({"ctx": table[ids].astype("<f4")}, out / "small_words.safetensors",
              about | {"classes": '["cup","cat","helicopter"]'})


def check(files):
    import torch
    for f in files:
        got = torch.load(f, weights_only=True)
        print(f, "epoch", got["epoch"])
        for k, v in got["state_dict"].items():
            print(f"  {k} {v.dtype} {tuple(v.shape)} {tuple(v.stride())} sum {v.double().sum():.9g}")


arguments = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("what", choices=["safetensors", "checkpoints", "sets", "check"])
arguments.add_argument("files", nargs="*")
arguments.add_argument("--shared", type=pathlib.Path)
given = arguments.parse_args()
if given.what == "safetensors":
    golden_safetensors()
elif given.what == "checkpoints":
    official(given.shared)
    forms()
elif given.what == "sets":
    sets()
else:
    check(given.files)
