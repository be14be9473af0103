# SPDX-License-Identifier: Apache-2.0
"""Twenty steps of vlpc train beside PyTorch's autograd: the small CLIP, a photo of each class, the same start values.

    python curve.py VLPC [--methods coop,maple,…] [--steps 20]

Prints the largest relative difference of a step's loss, and exits with 1 where it is above 1e-4.  Formulas are those of
methods.py and losses.py; every step sees all photos, so that the order is no matter.  Needs what learned.py needs, and
safetensors.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import losses
import methods
from hosts import load_small
from learned import BEGIN, CONTEXT, END, PHOTOS, SMALL, photos, start, token_rows

# learning rates at which a loss falls, but not so far that its relative difference is one of rounding
METHODS = {"coop": 0.02, "kgcoop": 0.02, "deep-text": 0.02, "vpt-deep": 0.01, "ivlp": 0.0025, "maple": 0.01,
           "promptsrc": 0.0025, "provp-ref": 0.5}
LOSS = {"kgcoop": losses.kgcoop, "promptsrc": losses.promptsrc, "provp-ref": losses.provp_ref}
TEMPLATES = pathlib.Path(__file__).parents[3] / "models/prompt_templates.def"
FORWARD = {"vpt-deep": "vpt"}


def few_photos(folder):
    data = pathlib.Path(folder, "photos/train")
    for of_class in sorted(p for p in (PHOTOS / "eurosat_train16").iterdir() if p.is_dir()):
        (data / of_class.name).mkdir(parents=True)
        first = sorted(of_class.iterdir())[0]
        (data / of_class.name / first.name).symlink_to(first)
    return data.parent


def by_vlpc(o, folder, method, names):
    """Losses, and the start values."""
    data, run = few_photos(folder), pathlib.Path(folder, "run")
    (data / "classes.txt").write_text("\n".join(names))
    recipe = (f"classes=all batch=10 augment=none shots=0 epochs={o.steps} lr={METHODS[method]} schedule=constant "
              "warmup_epochs=0 momentum=0.9 weight_decay=5e-4 gpa_std=0 prompt_length=0 prompt_depth=0")
    subprocess.run([o.vlpc, "train", SMALL / "model.onnx", "--method", method, "--data", data, "--set", recipe, "-o", run,
                    "--no-eval", "-q"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([o.vlpc, "prompt", "start", run / "model.vlpc", "--seed", "1", "-o", run / "start.safetensors", "-q"], check=True)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(x)["train/loss"] for x in lines], load_file(run / "start.safetensors")


def teacher_text(clip, names):
    """PromptSRC's [C, E]: the mean over its templates of features as they are."""
    read = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    read.no_padding()
    patterns, total = re.findall(r'^TEACHER\("(.*)"\)$', TEMPLATES.read_text(), re.MULTILINE), 0
    for pattern in patterns:
        rows = torch.zeros(len(names), CONTEXT, dtype=torch.int64)
        for c, name in enumerate(names):
            row = [BEGIN, *read.encode(pattern.format(name), add_special_tokens=False).ids, END]
            rows[c, :len(row)] = torch.tensor(row)
        with torch.no_grad():
            total = total + clip.plain_text(rows)
    return total / len(patterns)


def by_torch(o, clip, method, values, names, photo, label):
    _, slot = start(o.vlpc, method, 1)
    p = {k: v.clone().requires_grad_() for k, v in values.items()}
    words = "" if method == "coop" else "a photo of a"
    x = {"tokens": token_rows(names, slot, words), "template_tokens": token_rows(names, 0, "a photo of a"),
         "pixels": photo, "labels": label}
    if method == "promptsrc":
        x["teacher_text"] = teacher_text(clip, names)
    forward, loss = getattr(methods, FORWARD.get(method, method.replace("-", "_"))), LOSS.get(method, losses.cross_entropy)
    rule = torch.optim.SGD(p.values(), lr=METHODS[method], momentum=0.9, weight_decay=5e-4)
    seen = []
    for _ in range(o.steps):
        rule.zero_grad()
        now = loss(clip, forward(clip, p, x), x)
        now.backward()
        rule.step()
        seen.append(now.item())
    return seen


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("vlpc")
    a.add_argument("--methods", default=",".join(METHODS))
    a.add_argument("--steps", type=int, default=20)
    o = a.parse_args()
    torch.set_num_threads(2)
    clip = load_small(SMALL / "model.onnx", torch.float32)
    names = (PHOTOS / "eurosat_test/labels.txt").read_text().split("\n")[:10]
    worst = 0
    for method in o.methods.split(","):
        with tempfile.TemporaryDirectory() as folder:
            ours, values = by_vlpc(o, folder, method, names)
            theirs = by_torch(o, clip, method, values, names, *photos(pathlib.Path(folder, "photos/train")))
        apart = max(abs(x - y) / abs(y) for x, y in zip(ours, theirs, strict=True))
        worst = max(worst, apart)
        print(f"{method:10} loss {theirs[0]:.4f} -> {theirs[-1]:.4f} in {len(ours)} steps, apart {apart:.1e}", flush=True)
    return worst > 1e-4


if __name__ == "__main__":
    sys.exit(main())
