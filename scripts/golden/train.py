#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of tests/train/data.

  train.py --shared DIR PART…   PART: crops events optim random schedules splits

crops   crops.txt: W H SEED X Y BOX_W BOX_H SIDE FLIP and the XXH3-64 of what Pillow
        makes of generated pixels (noise() of pixels.py)
events  events.inc: a TensorBoard file of two scalars, packed from the formats' pages
optim   optim.txt: CASE, then eight values of w, the same bits as hex, after each of
        five steps of torch.optim (gradients and cases: make_optim)
random  python_random.inc: draws of CPython's random module
splits  split_zhou_*.json.gz and few_shot.txt.gz (set, shots, split, label,
        path), from DIR/data/splits, which are published files
schedules  schedules.txt: NAME LR EPOCHS WARMUP and a rate for each epoch, from
        DIR/data/official/base.json, which Dassl's schedulers computed
"""
import argparse
import gzip
import json
import pathlib
import random

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/train/data"


def pack(name, data):
    with open(DATA / name, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as g:
        g.write(data)


def make_random(_):
    def row(seed):
        random.seed(seed)
        words = [random.getrandbits(32) for _ in range(2)]
        real = random.random().hex()
        below = [random.randrange(n) for n in (1, 2, 37, 1000, 1 << 20)]
        order = list(range(10))
        random.shuffle(order)
        drawn = []
        for n, k in ((10, 4), (500, 5), (85, 6), (86, 6), (300, 16)):
            drawn += random.sample(range(n), k)
        fields = [words, real, below, order, drawn]
        text = [f if isinstance(f, str) else "{" + ", ".join(map(str, f)) + "}" for f in fields]
        return "{UINT64_C(%d), %s},\n" % (seed, ",\n ".join(text))

    seeds = (0, 1, 2, 3, 42, 12345678901, 2**63 + 5)
    (DATA / "python_random.inc").write_text("".join(map(row, seeds)))


def make_splits(shared):
    folder = shared / "data/splits"
    sets = (
        ("Caltech101", "caltech101", "./data/caltech-101/101_ObjectCategories/"),
        ("EuroSAT", "eurosat", "./data/eurosat/2750/"),
        ("OxfordPets", "oxford_pets", "./data/oxford_pets/images/"),
    )
    lines = []
    for name, file, root in sets:
        pack(f"split_zhou_{name}.json.gz", (folder / f"split_zhou_{name}.json").read_bytes())
        for shots in (1, 4, 16):
            index = json.loads((folder / f"indices_{file}_shot{shots}-seed1.json").read_text())
            for split in ("train", "val"):
                for item in index[split]["data"]:
                    path = item["impath"].removeprefix(root)
                    lines.append(f"{name} {shots} {split} {item['label']} {path}\n")
    pack("few_shot.txt.gz", "".join(lines).encode())


def make_crops(_):
    import numpy as np
    import xxhash
    from PIL import Image

    import pixels

    rnd = random.Random(5)
    lines = []
    for i in range(60):
        w, h = rnd.randint(1, 300), rnd.randint(1, 300)
        bw, bh = rnd.randint(1, w), rnd.randint(1, h)
        x, y = rnd.randint(0, w - bw), rnd.randint(0, h - bh)
        side, flip, seed = (224, 64, 33)[i % 3], i & 1, rnd.getrandbits(32)
        im = pixels.noise(w, h, seed).crop((x, y, x + bw, y + bh)).resize((side, side), Image.BICUBIC)
        if flip:
            im = im.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        digest = xxhash.xxh3_64_hexdigest(np.asarray(im).tobytes())
        lines.append(f"{w} {h} {seed} {x} {y} {bw} {bh} {side} {flip} {digest}\n")
    (DATA / "crops.txt").write_text("".join(lines))


OPTIM_CASES = {
    "sgd": ("SGD", dict(lr=0.0035, momentum=0.9, weight_decay=5e-4)),
    "sgd_plain": ("SGD", dict(lr=0.1)),
    "sgd_decay": ("SGD", dict(lr=0.1, weight_decay=1e-3)),
    "sgd_nesterov": ("SGD", dict(lr=0.002, momentum=0.9, weight_decay=5e-4, nesterov=True)),
    "adamw": ("AdamW", dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)),
    "adamw_tip": ("AdamW", dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-4, weight_decay=0.0)),
}


def make_optim(_):
    """w[i] = (i - 3.5) / 7; gradient i of step t = ((i * 5 + t * 3) % 11 - 5) / 16; the
    third step has none at all."""
    import torch

    lines = []
    for case, (rule, options) in OPTIM_CASES.items():
        w = torch.nn.Parameter((torch.arange(8, dtype=torch.float32) - 3.5) / 7)
        optim = getattr(torch.optim, rule)([w], foreach=False, **options)
        for t in range(5):
            g = (torch.tensor([(i * 5 + t * 3) % 11 - 5 for i in range(8)]).float()) / 16
            w.grad = None if t == 2 else g
            optim.step()
            bits = w.detach().numpy().view("uint32")
            lines.append(f"{case} {' '.join('%08x' % b for b in bits)}\n")
    (DATA / "optim.txt").write_text("".join(lines))


def make_schedules(shared):
    base = json.loads((shared / "data/official/base.json").read_text())
    lines = []
    for name, s in base["schedules"].items():
        head = f"{name} {s['LR']} {s['MAX_EPOCH']} {max(s['WARMUP_EPOCH'], 0)}"
        lines.append(f"{head} {' '.join(map(repr, s['lr']))}\n")
    (DATA / "schedules.txt").write_text("".join(lines))


def make_events(_):
    import struct

    def masked(b):
        c = 0xFFFFFFFF
        for x in b:
            c ^= x
            for _ in range(8):
                c = (c >> 1) ^ (0x82F63B78 if c & 1 else 0)
        c ^= 0xFFFFFFFF
        return ((c >> 15 | c << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF

    def field(tag, data):
        return bytes([tag, len(data)]) + data

    def event(wall, body):
        e = b"\x09" + struct.pack("<d", wall) + body
        n = struct.pack("<Q", len(e))
        return n + struct.pack("<I", masked(n)) + e + struct.pack("<I", masked(e))

    def scalar(tag, value):
        v = field(0x0A, tag) + b"\x15" + struct.pack("<f", value)
        return b"\x10\xac\x02" + field(0x2A, field(0x0A, v))  # step 300

    data = event(1000.0, field(0x1A, b"brain.Event:2"))
    data += event(1001.5, scalar(b"loss", 0.25)) + event(1001.5, scalar(b"lr", 2e-3))
    rows = [", ".join("0x%02x" % b for b in data[i : i + 12]) for i in range(0, len(data), 12)]
    (DATA / "events.inc").write_text(",\n".join(rows) + "\n")


PARTS = {"crops": make_crops, "events": make_events, "optim": make_optim, "schedules": make_schedules, "random": make_random, "splits": make_splits}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=pathlib.Path)
    parser.add_argument("part", nargs="+", choices=PARTS)
    args = parser.parse_args()
    for part in args.part:
        PARTS[part](args.shared)
