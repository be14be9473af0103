# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files of tests/prompts/data:

    python golden.py VLPC tests/prompts/data

For each case below the module is written by `vlpc prompt` for the tiny CLIP of
seed 1 (vlpc model clip --size tiny), held against onnx.checker, and given
parameters of a fixed seed; the formulas of this folder then say what it must
compute.  CASE.npz has

    param/NAME     each trainable
    tap/INPUT      what the module reads        value/OUTPUT  what it must give
    loss_tap/INPUT what its loss reads          loss, loss2   what they must give
    tokens         template_tokens              labels
    image, text, logits                         features (not of unit length) and scores
    grad/NAME      of the (first) loss

inputs.npz has the pixels, cases.txt each case's method and options.  All is computed in double and stored as float32.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import onnx
import torch
from onnx import numpy_helper

import losses
import methods
from hosts import load_written

IMAGES, CLASSES, CONTEXT, BEGIN, END, STOP, DUMMY = 3, 5, 16, 510, 511, 13, 300
PHRASE = [41, 57, 93, 41]  # ids that stand for "a photo of a"
NAMES = [[200], [211, 212], [220], [231, 232, 233], [240, 241]]
TOP = {"top": 3}
# case: method, options of vlpc prompt, formula, its settings, losses
CASES = {
    "zero_shot": ("zero-shot", "", "zero_shot", {}, []),
    "zero_shot_ensemble": ("zero-shot-ensemble", "", "zero_shot_ensemble", {}, []),
    "coop_end": ("coop", "--length 4", "coop", {}, ["cross_entropy"]),
    "coop_middle": ("coop", "--length 5 --place middle", "coop", {"place": "middle"}, ["cross_entropy"]),
    "coop_front": ("coop", "--length 3 --place front", "coop", {"place": "front"}, ["cross_entropy"]),
    "coop_csc_end": ("coop", "--length 3 --csc --class-count 5", "coop", {}, ["cross_entropy"]),
    "coop_csc_front": ("coop", "--length 2 --csc --class-count 5 --place front", "coop", {"place": "front"},
                       ["cross_entropy"]),
    "cocoop": ("cocoop", "", "cocoop", {}, ["cross_entropy"]),
    "cocoop_m2": ("cocoop", "--length 2", "cocoop", {}, ["cross_entropy"]),
    "kgcoop": ("kgcoop", "", "kgcoop", {}, ["kgcoop"]),
    "deep_text": ("deep-text", "", "deep_text", {}, ["cross_entropy"]),
    "deep_text_m2_d2": ("deep-text", "--length 2 --depth 2", "deep_text", {}, ["cross_entropy"]),
    "vpt_shallow": ("vpt-shallow", "", "vpt", {}, ["cross_entropy"]),
    "vpt_deep": ("vpt-deep", "", "vpt", {}, ["cross_entropy"]),
    "vpt_deep_m3_d2": ("vpt-deep", "--length 3 --depth 2", "vpt", {}, ["cross_entropy"]),
    "vpt_dpt": ("vpt-dpt", "--length 4", "vpt_dpt", {}, ["cross_entropy"]),
    "vpt_dpt_d1": ("vpt-dpt", "--length 3 --depth 1", "vpt_dpt", {}, ["cross_entropy"]),
    "vpt_dpt_d2": ("vpt-dpt", "--length 3 --depth 2", "vpt_dpt", {}, ["cross_entropy"]),
    "ivlp": ("ivlp", "", "ivlp", {}, ["cross_entropy"]),
    "ivlp_t4d2_v3d3": ("ivlp", "--length 4 --depth 2 --vision-length 3 --vision-depth 3", "ivlp", {},
                       ["cross_entropy"]),
    "maple": ("maple", "", "maple", {}, ["cross_entropy"]),
    "maple_d1": ("maple", "--depth 1", "maple", {}, ["cross_entropy"]),
    "maple_m4_d2": ("maple", "--length 4 --depth 2", "maple", {}, ["cross_entropy"]),
    "maple_unified": ("maple-unified", "", "maple_unified", {}, ["cross_entropy"]),
    "maple_unified_m3_d2": ("maple-unified", "--length 3 --depth 2", "maple_unified", {}, ["cross_entropy"]),
    "provp": ("provp", "--length 6", "provp", {}, ["cross_entropy"]),
    "provp_m3_d2": ("provp", "--length 3 --depth 2", "provp", {}, ["cross_entropy"]),
    "provp_ref": ("provp-ref", "--length 5", "provp_ref", {}, ["provp_ref"]),
    "dpt": ("dpt", "--length 3 --vision-length 4", "dpt", {}, ["dpt_stage1", "cross_entropy"]),
    "dpt_d2": ("dpt", "--length 4 --vision-length 2 --depth 2", "dpt", {}, ["dpt_stage1", "cross_entropy"]),
    "dpt_cavpt": ("dpt-cavpt", "--length 3 --vision-length 4 --class-count 5 --top-classes 3", "dpt_cavpt", TOP,
                  ["dpt_cavpt_stage1", "dpt_cavpt_stage2"]),
    "dpt_cavpt_miss": ("dpt-cavpt", "--length 2 --vision-length 2 --class-count 5 --top-classes 3", "dpt_cavpt", TOP,
                       ["dpt_cavpt_stage1", "dpt_cavpt_stage2"]),
    "promptsrc": ("promptsrc", "", "promptsrc", {}, ["promptsrc"]),
    "clip_adapter": ("clip-adapter", "", "clip_adapter", {}, ["cross_entropy"]),
    "tip_adapter": ("tip-adapter", "--class-count 5 --keys 7", "tip_adapter", {}, ["cross_entropy"]),
}


def numbers(*words):
    return np.random.Generator(np.random.PCG64([20251, *(zlib.crc32(w.encode()) for w in words)]))


def parameters(case, module, declaration):
    """Values far from the start that the method would have, so that each of them matters."""
    stored = {i.name: numpy_helper.to_array(i) for i in module.graph.initializer}
    p = {}
    for t in declaration["trainable"]:
        (kind, amount), shape, g = list(t["init"].items())[0], stored[t["name"]].shape, numbers(case, t["name"])
        if kind == "fill":
            a = amount + 0.2 * g.standard_normal(shape)
        elif kind in ("words", "normal") or case.startswith("provp"):
            a = 0.2 * g.standard_normal(shape)
        else:  # linear layers
            a = g.uniform(-1, 1, shape) / np.sqrt(shape[-1])
        if t["name"] == "keys":
            a /= np.linalg.norm(a, axis=-1, keepdims=True)
        if t["name"] == "values":
            a = np.eye(shape[0])[:, np.arange(shape[1]) % shape[0]]
        p[t["name"]] = torch.tensor(np.asarray(a, np.float32).astype(np.float64), requires_grad=True)
    return p


def token_rows(words):
    ids = np.zeros((CLASSES, CONTEXT), np.int64)
    for c, name in enumerate(NAMES):
        row = [BEGIN, *words, *name, STOP, END]
        ids[c, :len(row)] = row
    return torch.from_numpy(ids)


def tokens_of(declaration):
    slot = declaration.get("slot")
    return token_rows(PHRASE if not slot or "phrase" in slot else [DUMMY] * slot["rows"])


def templates():
    """Eight wordings before the name, as [8,C,T]; the first is the plain one."""
    return torch.stack([token_rows([*PHRASE[:4 - k % 3], 100 + k] if k else PHRASE) for k in range(8)])


def choose_labels(case, clip, x):
    """Of the frozen model's three best classes, or of none of them."""
    order = clip.logits(*methods.frozen(clip, x)).argsort(-1, descending=True)
    if case == "dpt_cavpt_miss":
        return order[:, 4]
    return order[torch.arange(IMAGES), torch.tensor([0, 2, 4])]


def loss_taps(clip, r, x, declaration):
    f0, g0 = methods.frozen(clip, x)
    have = {"logits": r.logits, "labels": x["labels"], "V.feat": r.image, "T.feat": r.text, "frozen.V.feat": f0,
            "frozen.T.feat": g0, "frozen.logits": clip.logits(f0, g0)}
    have |= {"aux." + k: v for k, v in r.aux.items()}
    out = {}
    for stage in (declaration["loss"], declaration["loss"].get("next")):
        for t in stage["taps"] if stage else []:
            out[t["input"]] = have[t["from"]]
    return out


def run_case(vlpc, clip, folder, case, pixels):
    method, options, formula, setting, loss = CASES[case]
    path = folder / "module.onnx"
    subprocess.run([vlpc, "prompt", method, "--size", "tiny", *options.split(), "-o", str(path), "-q"], check=True)
    module = onnx.load(path)
    for f in folder.glob("module*.onnx"):
        onnx.checker.check_model(str(f), full_check=True)
    declaration = json.loads(next(e.value for e in module.metadata_props if e.key == "vlpc.prompt"))
    p = parameters(case, module, declaration)
    x = {"pixels": pixels, "tokens": tokens_of(declaration), "template_tokens": token_rows(PHRASE)}
    if method == "promptsrc":  # its teacher is a mean over templates
        x["teacher_text"] = torch.stack([clip.plain_text(t) for t in templates()]).mean(0)
    x["labels"] = choose_labels(case, clip, x)
    if formula == "zero_shot_ensemble":
        x["template_tokens"] = templates()
    r = getattr(methods, formula)(clip, p, x, **setting)
    out = {"image": r.image, "text": r.text, "logits": r.logits}
    out |= {k: x[k] for k in ("tokens", "template_tokens", "teacher_text", "labels") if k in x}
    out |= {"param/" + k: v for k, v in p.items()}
    for t in declaration["taps"]:
        at = t["from"] + (" " + t["segment"] if "segment" in t else "")
        out["tap/" + t["input"]] = r.seen[at]
    values = r.rows | r.aux
    assert {o.name for o in module.graph.output} == set(values), case
    out |= {"value/" + k: v for k, v in values.items()}
    if loss:
        out |= {"loss_tap/" + k: v for k, v in loss_taps(clip, r, x, declaration).items()}
        terms = [getattr(losses, name)(clip, r, x) for name in loss]
        out |= {"loss" + ("2" if i else ""): v for i, v in enumerate(terms)}
        learned = {t["name"] for t in declaration["trainable"] if not t.get("fixed")}
        for k, g in zip(p, torch.autograd.grad(terms[0], list(p.values()), allow_unused=True)):
            if k in learned and g is not None:
                out["grad/" + k] = g
    small = {k: v.detach().numpy() for k, v in out.items()}
    return {k: v.astype(np.float32 if v.dtype == np.float64 else np.int64) for k, v in small.items()}


def main(vlpc, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    pixels = numbers("pixels").standard_normal((IMAGES, 3, 32, 32)).astype(np.float32)
    np.savez_compressed(out / "inputs.npz", pixels=pixels)
    lines = [" ".join([case, c[0], *c[1].split()]) for case, c in CASES.items()]
    (out / "cases.txt").write_text("\n".join(lines) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        subprocess.run([vlpc, "model", "clip", "--size", "tiny", "-o", str(folder / "clip"), "-q"], check=True)
        clip = load_written(folder / "clip" / "model.onnx", 2, 2)
        for case in CASES:
            for f in folder.glob("module*.onnx"):
                f.unlink()
            z = run_case(vlpc, clip, folder, case, torch.from_numpy(pixels).double())
            np.savez_compressed(out / f"{case}.npz", **z)
            print(f"{case:22} {(out / f'{case}.npz').stat().st_size:7} bytes  loss {z.get('loss', '')} "
                  f"logits to {np.abs(z['logits']).max():.2f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
