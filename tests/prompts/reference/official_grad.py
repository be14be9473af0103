# SPDX-License-Identifier: Apache-2.0
"""Holds `vlpc grad` against what the papers' own code computed:

    python make_base.py BASE                 (of SHARED/data/official)
    python official_grad.py VLPC BASE SHARED/data/official [CASE ...]

For each of the 13 settings, relative to the largest element: loss and gradients of
the first step at the official start values, the losses of three steps of SGD and the
values after them; fails above 1e-4.  Arrays that are stored abbreviated are compared
in that form.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import torch
from onnx import compose, helper

from official import CASES, canonical, difference, stored
from official_vlpc import LIMIT, MODULES, parameters, template_tokens

SCALE = 60.0
TEACHERS = ("frozen/fixed_embeddings", "frozen/ori_embedding", "frozen/template_text_features_norm")


def joined(base, path):
    """Both towers with their scores in one file: the towers' own files do not hold the scale."""
    image, text = (compose.add_prefix(onnx.load(f"{base}/{n}.onnx"), n + "/") for n in ("image", "text"))
    f, g = image.graph.output[0].name, text.graph.output[0].name
    nodes = [helper.make_node("LpNormalization", [f], ["f"], axis=-1), helper.make_node("LpNormalization", [g], ["g"], axis=-1),
             helper.make_node("Transpose", ["g"], ["gt"], perm=[1, 0]), helper.make_node("MatMul", ["f", "gt"], ["cosine"]),
             helper.make_node("Mul", ["cosine", "scale"], ["logits_per_image"])]
    a, b = image.graph, text.graph
    scale = onnx.numpy_helper.from_array(np.float32(SCALE), "scale")
    scores = helper.make_tensor_value_info("logits_per_image", onnx.TensorProto.FLOAT, [None, None])
    graph = helper.make_graph([*a.node, *b.node, *nodes], "clip", [*a.input, *b.input], [*a.output, *b.output, scores],
                              [*a.initializer, *b.initializer, scale])
    onnx.save(helper.make_model(graph, opset_imports=image.opset_import, ir_version=8), path)


def run_case(vlpc, folder, case, work):
    z = dict(np.load(folder / "cases" / f"{case}.npz"))
    about = json.loads((folder / "cases" / f"{case}.json").read_text())
    module, artifact = work / "module.onnx", work / "x.vlpc"
    subprocess.run([vlpc, "prompt", *MODULES[case].split(), "--size", "official", "-o", str(module), "-q"], check=True)
    subprocess.run([vlpc, "compile", str(work / "clip.onnx"), "--prompt", str(module), "--train",
                    "-o", str(artifact), "-q"], check=True, stdout=subprocess.DEVNULL)
    tokens = z["tokens" if "tokens" in z else "template_tokens"].astype(np.int64)
    plain = template_tokens(folder, about) if case == "dpt_cavpt_k3_stage1" else tokens
    rows = 4 if case == "coop_csc_middle_m4" else 0
    values = {"image": np.load(folder / "inputs.npz")["images"], "text": tokens, "plain_text": plain.astype(np.int64),
              "labels": z["labels"].astype(np.int64), "name_lengths": tokens.argmax(-1) - 2 - rows}
    values |= {"frozen_text_features": z[k] for k in TEACHERS if k in z}
    p, momentum, far = parameters(folder, case, False), {}, {}
    official = {canonical(name, CASES[case][3]): name for name in np.load(folder / "cases" / f"{case}.params.npz")}

    def hold(kind, pairs):
        for got, want in pairs:
            far[kind] = max(far.get(kind, 0), difference(got, want))

    for step in range(3):
        np.savez(work / "in.npz", **values, **p)
        subprocess.run([vlpc, "grad", str(artifact), "--inputs", str(work / "in.npz"), "-o", str(work / "out.npz"), "-q"],
                       check=True, stdout=subprocess.DEVNULL)
        got = np.load(work / "out.npz")
        hold("loss", [(torch.from_numpy(got["loss"]).reshape(()), z["losses3"][step])])
        for name, value in p.items():
            if f"grad.{name}" not in got:  # the loss does not reach it
                continue
            g = got[f"grad.{name}"]
            if step == 0:
                hold("grad", stored(z, "grad/" + official[name], torch.from_numpy(g)))
            if not g.any():  # in the official code the loss of this step does not reach it
                continue
            sgd = about["sgd"]
            g = g + np.float32(sgd["weight_decay"]) * value
            momentum[name] = np.float32(sgd["momentum"]) * momentum[name] + g if name in momentum else g
            p[name] = value - np.float32(sgd["lr"]) * momentum[name]
    for name, value in p.items():
        hold("after3", stored(z, "after3/" + official[name], torch.from_numpy(value)))
    return far


def main(vlpc, base, folder, wanted):
    folder, bad = pathlib.Path(folder), 0
    with tempfile.TemporaryDirectory() as work:
        joined(base, pathlib.Path(work) / "clip.onnx")
        for case in wanted or CASES:
            far = run_case(vlpc, folder, case, pathlib.Path(work))
            ok = max(far.values()) <= LIMIT
            bad += not ok
            print(f"{case:22}", "ok  " if ok else "FAIL", " ".join(f"{k} {v:.1e}" for k, v in far.items()), flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:4], sys.argv[4:]) else 0)
