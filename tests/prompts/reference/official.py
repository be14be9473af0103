# SPDX-License-Identifier: Apache-2.0
"""Holds the formulas of this folder against what the papers' own code computed:

    python official.py SHARED/data/official [CASE ...]

For each of the 13 settings: logits, features, auxiliary results, losses,
gradients, and the values and logits after three steps of SGD.  Prints the
largest difference of each kind relative to the largest element; fails above
1e-4.
"""
import importlib.util
import json
import pathlib
import re
import sys

import numpy as np
import torch

import losses
import methods
from clip import Clip

LIMIT = 1e-4
# case: method, its settings, loss, and the official name of each parameter as a pattern
TEXT = (r"prompt_learner\.", "")
CASES = {
    "coop_end_m4": ("coop", {}, "cross_entropy", [TEXT]),
    "coop_csc_middle_m4": ("coop", {"place": "middle"}, "cross_entropy", [TEXT]),
    "cocoop_rand_m6": ("cocoop", {}, "cross_entropy", [TEXT]),
    "kgcoop_w8": ("kgcoop", {}, "kgcoop", [TEXT]),
    "vpt_deep_m4_d3": ("vpt", {}, "cross_entropy", [(r"image_encoder\.(transformer\.)?", "")]),
    "ivlp_t4d4_v3d2": ("ivlp", {}, "cross_entropy", [
        TEXT, (r"image_encoder\.(transformer\.)?", "visual."), (r"text_encoder\.transformer\.", "text.")]),
    "promptsrc_t4v4_d3": ("promptsrc", {}, "promptsrc", [
        TEXT, (r"image_encoder\.(transformer\.)?", "visual."), (r"text_encoder\.transformer\.", "text.")]),
    "maple_m2_d3": ("maple", {}, "cross_entropy", [TEXT]),
    "provp_m8": ("provp", {}, "cross_entropy", [TEXT]),
    "provp_ref_m8": ("provp_ref", {}, "provp_ref", [TEXT]),
    "dpt_vpt_m10": ("vpt_dpt", {}, "cross_entropy", [(r".*ctx_learner\.", "")]),
    "dpt_vlp_stage1": ("dpt", {}, "dpt_stage1", [TEXT, (r".*ctx_learner\.", "visual.")]),
    "dpt_cavpt_k3_stage1": ("dpt_cavpt", {"top": 3}, "dpt_cavpt_stage1", [
        TEXT, (r".*ctx_learner\.", "visual."), (r".*extractor\.", "extractor.")]),
}


def canonical(name, patterns):
    for pattern, to in patterns:
        if re.match(pattern, name):
            return re.sub("^" + pattern, to, name)
    raise KeyError(name)


def load_base(folder):
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("make_base", folder / "make_base.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    w = {k: torch.tensor(v) for k, v in module.base().items()}
    return Clip(w, module.VW // 64, module.TW // 64)


def difference(got, want):
    got = got.detach().double().numpy()
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape, (got.shape, want.shape)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def stored(z, key, got):
    """Pairs (got, want) for an array that is stored whole or abbreviated."""
    if key in z:
        return [(got, z[key])]
    if key + "#rows" not in z:
        return []
    flat = got.reshape(-1, got.shape[-1])
    rows = torch.from_numpy(z[key + "#rowidx"].astype(np.int64))
    sign = lambda n: torch.from_numpy(z[f"signs/{n}"]).to(flat.dtype)
    return [(flat[rows], z[key + "#rows"]),
            (flat @ sign(flat.shape[1]), z[key + "#times_signs"]),
            (sign(flat.shape[0]) @ flat, z[key + "#signs_times"]),
            ((flat ** 2).sum(), z[key + "#sqnorm"])]


def run_case(clip, folder, case):
    method, setting, loss, patterns = CASES[case]
    z = dict(np.load(folder / "cases" / f"{case}.npz"))
    about = json.loads((folder / "cases" / f"{case}.json").read_text())
    p, official = {}, {}
    for name, value in np.load(folder / "cases" / f"{case}.params.npz").items():
        official[canonical(name, patterns)] = name
        p[canonical(name, patterns)] = torch.tensor(value, requires_grad=True)
    x = {"pixels": torch.from_numpy(np.load(folder / "inputs.npz")["images"]),
         "labels": torch.from_numpy(z["labels"])}
    for key in ("tokens", "template_tokens"):
        if key in z:
            x[key] = torch.from_numpy(z[key].astype(np.int64))
    x.setdefault("tokens", x.get("template_tokens"))
    for key in ("frozen/fixed_embeddings", "frozen/ori_embedding", "frozen/template_text_features_norm"):
        if key in z:
            x["teacher_text"] = torch.from_numpy(z[key])
    far = {}

    def hold(kind, pairs):
        for got, want in pairs:
            far[kind] = max(far.get(kind, 0.0), difference(got, want))

    def forward():
        return getattr(methods, method)(clip, p, x, **setting)

    with torch.no_grad():
        r = forward()
    hold("logits", [(r.logits, z["logits"])])
    hold("features", stored(z, "eval/image_features", r.image) + stored(z, "eval/text_features", r.text))
    if "eval/layer_logits" in z:
        assert (r.aux["picked"].numpy() == z["eval/topk_indices"]).all()
        hold("aux", [(r.aux["layer_logits"].transpose(0, 1)[None], z["eval/layer_logits"])])
    momentum = {k: None for k in p}
    for step in range(3):
        value = getattr(losses, loss)(clip, forward(), x)
        hold("loss", [(value, z["losses3"][step])])
        for v in p.values():
            v.grad = None
        value.backward()
        for k, v in p.items():
            if step == 0:
                hold("grad", stored(z, "grad/" + official[k], v.grad if v.grad is not None else torch.zeros_like(v)))
            if v.grad is None:
                continue
            with torch.no_grad():
                g = v.grad + about["sgd"]["weight_decay"] * v
                momentum[k] = g if momentum[k] is None else about["sgd"]["momentum"] * momentum[k] + g
                v -= about["sgd"]["lr"] * momentum[k]
    for k, v in p.items():
        hold("after3", stored(z, "after3/" + official[k], v))
    with torch.no_grad():
        hold("logits_after3", [(forward().logits, z["logits_after3"])])
    return far


def main(folder, wanted):
    torch.set_num_threads(2)
    folder = pathlib.Path(folder)
    clip, bad = load_base(folder), 0
    for case in wanted or CASES:
        far = run_case(clip, folder, case)
        ok = max(far.values()) <= LIMIT
        bad += not ok
        print(f"{case:22}", "ok  " if ok else "FAIL", " ".join(f"{k} {v:.1e}" for k, v in far.items()), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2:]) else 0)
