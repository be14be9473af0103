# SPDX-License-Identifier: Apache-2.0
"""What PyTorch learns where bench/results does: the small CLIP, EuroSAT's 16 photos a class, no augmentation.

    python learned.py VLPC METHOD [--seeds 1,2,3] [--epochs 5] [--batch 4] [--lr 3.5e-3]

Formulas are those of methods.py, the recipe's figures the options; start values are those that `vlpc prompt`
writes for the seed, the order of photos is PyTorch's own.  Needs torch, onnx, tokenizers and Pillow.
"""
import argparse
import json
import math
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from tokenizers import Tokenizer

import losses
import methods
from clip import Clip, keep
from hosts import load_small

ROOT = pathlib.Path(__file__).resolve().parents[3]
SMALL, PHOTOS = ROOT / "models/small_clip", ROOT / "models/photos"
CONTEXT, BEGIN, END = 77, 4512, 4513
TEXT_ONLY = {"coop", "kgcoop", "deep-text"}  # features of photos do not change
LOSS = {"kgcoop": losses.kgcoop, "provp-ref": losses.provp_ref}


class Kept(Clip):
    """Takes features [B, E] for the photos that they are of."""

    def image_features(self, pixels, pre=None, before=keep):
        return pixels if pixels.ndim == 2 else super().image_features(pixels, pre, before)


def pixels(path):
    with Image.open(path) as photo:
        square = photo.convert("RGB").resize((224, 224), Image.BICUBIC)  # EuroSAT's photos are square
    x = torch.from_numpy(np.asarray(square, np.float32) / 255).permute(2, 0, 1)
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in ([.485, .456, .406], [.229, .224, .225]))
    return (x - mean) / deviation


def photos(folder):
    files = sorted(p for p in folder.glob("*/*") if p.suffix in (".jpg", ".png"))
    classes = sorted({p.parent.name for p in files})
    return torch.stack([pixels(p) for p in files]), torch.tensor([classes.index(p.parent.name) for p in files])


def token_rows(names, slot, phrase):
    """[C, 77]: begin, `slot` places for learned rows, what is left of the phrase, name, stop, end."""
    read = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    read.no_padding()
    ids = torch.full((len(names), CONTEXT), 0)
    dummy = read.encode("x", add_special_tokens=False).ids[:1]
    rest = read.encode(phrase, add_special_tokens=False).ids[slot:] if phrase else []
    for c, name in enumerate(names):
        row = [BEGIN, *dummy * slot, *rest, *read.encode(f"{name}.", add_special_tokens=False).ids, END]
        ids[c, :len(row)] = torch.tensor(row)
    return ids


def start(vlpc, method, seed):
    """Start values of the trainables, and the rows of the slot."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "module.onnx")
        subprocess.run([vlpc, "prompt", method, "--model", SMALL / "model.onnx", "--seed", str(seed), "-o", path, "-q"],
                       check=True)
        module = onnx.load(path)
    told = json.loads(next(e.value for e in module.metadata_props if e.key == "vlpc.prompt"))
    learned = {t["name"] for t in told["trainable"]}
    values = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in module.graph.initializer if i.name in learned}
    return {k: v.requires_grad_() for k, v in values.items()}, told.get("slot", {"rows": 0})["rows"]


def rate(o, epoch):
    return 1e-5 if epoch < 1 else o.lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / o.epochs))


def learn(o, clip, seed, train, test, names):
    torch.manual_seed(seed)
    p, slot = start(o.vlpc, o.method, seed)
    words = "" if o.method in ("coop", "dpt", "dpt-cavpt") else "a photo of a"
    fixed = {"tokens": token_rows(names, slot, words), "template_tokens": token_rows(names, 0, "a photo of a")}
    forward, loss = getattr(methods, o.method.replace("-", "_").replace("vpt_deep", "vpt")), LOSS.get(o.method)
    loss = loss or losses.cross_entropy
    rule = torch.optim.SGD(p.values(), lr=o.lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(o.epochs):
        rule.param_groups[0]["lr"] = rate(o, epoch)
        order = torch.randperm(len(train[0]))
        for at in range(0, len(order) - o.batch + 1, o.batch):
            pick = order[at:at + o.batch]
            x = fixed | {"pixels": train[0][pick], "labels": train[1][pick]}
            rule.zero_grad()
            loss(clip, forward(clip, p, x), x).backward()
            rule.step()
    with torch.no_grad():
        right = [forward(clip, p, fixed | {"pixels": part}).logits.argmax(-1) for part in test[0].split(50)]
    return 100 * (torch.cat(right) == test[1]).float().mean().item()


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("vlpc")
    a.add_argument("method")
    a.add_argument("--seeds", default="1,2,3")
    a.add_argument("--epochs", type=int, default=5)
    a.add_argument("--batch", type=int, default=4)
    a.add_argument("--lr", type=float, default=3.5e-3)
    o = a.parse_args()
    torch.set_num_threads(2)
    clip = load_small(SMALL / "model.onnx", torch.float32)
    clip = Kept(clip.w, clip.vision_heads, clip.text_heads, clip.gelu, clip.eps)
    names = (PHOTOS / "eurosat_test/labels.txt").read_text().split("\n")[:10]
    train, test = photos(PHOTOS / "eurosat_train16"), photos(PHOTOS / "eurosat_test")
    if o.method in TEXT_ONLY:
        with torch.no_grad():
            train, test = ((torch.cat([clip.image_features(b) for b in x.split(50)]), y) for x, y in (train, test))
    seen, began = [], time.time()
    for seed in o.seeds.split(","):
        seen.append(learn(o, clip, int(seed), train, test, names))
        print(f"{o.method} seed {seed}: {seen[-1]:.1f} % after {time.time() - began:.0f} s", flush=True)
    spread = statistics.stdev(seen) if len(seen) > 1 else 0
    print(f"{o.method}: {statistics.mean(seen):.1f} ± {spread:.1f}")


if __name__ == "__main__":
    main()
