# SPDX-License-Identifier: Apache-2.0
"""Holds vlpc itself against what the papers' own code computed:

    python make_base.py BASE                 (of SHARED/data/official)
    python official_vlpc.py VLPC BASE SHARED/data/official [--passes=SWITCHES | --each] [CASE ...]

For each of the 13 settings: writes the module, links it into the base CLIP, runs
the entries with the official start values and with those after three steps of
SGD, and prints how far features, scores and auxiliary results are apart, relative
to the largest element; fails above 1e-4.  --each does so with every pass and rewrite of
the compiler left out, one after another.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

from official import CASES, canonical, difference

LIMIT = 1e-4
MODULES = {  # case: arguments of vlpc prompt
    "coop_end_m4": "coop --length 4",
    "coop_csc_middle_m4": "coop --length 4 --csc --class-count 8 --place middle",
    "cocoop_rand_m6": "cocoop --length 6",
    "kgcoop_w8": "kgcoop",
    "vpt_deep_m4_d3": "vpt-deep --length 4 --depth 3",
    "ivlp_t4d4_v3d2": "ivlp --length 4 --depth 4 --vision-length 3 --vision-depth 2",
    "promptsrc_t4v4_d3": "promptsrc --depth 3",
    "maple_m2_d3": "maple --depth 3",
    "provp_m8": "provp --length 8 --depth 12",
    "provp_ref_m8": "provp-ref --length 8 --depth 12",
    "dpt_vpt_m10": "vpt-dpt",
    "dpt_vlp_stage1": "dpt",
    "dpt_cavpt_k3_stage1": "dpt-cavpt --class-count 8 --top-classes 3",
}


def write_set(path, method, tensors):
    """A prompt set: safetensors with the method in its metadata."""
    head, at = {"__metadata__": {"vlpc_prompt": "1", "method": method}}, 0
    for name in sorted(tensors):
        n = tensors[name].nbytes
        head[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(
        np.ascontiguousarray(tensors[name], "<f4").tobytes() for name in sorted(tensors)))


class Artifact:
    """Runs the entries of an artifact by the command."""

    def __init__(self, vlpc, path, folder, prompts):
        self.vlpc, self.path, self.folder, self.prompts = vlpc, path, folder, prompts
        text = subprocess.run([vlpc, "inspect", path, "--json"], check=True, capture_output=True, text=True).stdout
        self.entries = {e["name"]: [p["name"] for p in e["inputs"]] for e in json.loads(text)["entries"]}

    def run(self, entry, values):
        np.savez(self.folder / "in.npz", **values)
        out = self.folder / "out.npz"
        subprocess.run([self.vlpc, "run", self.path, "--entry", entry, "--inputs", str(self.folder / "in.npz"),
                        "--prompts", str(self.prompts), "-o", str(out), "-q"], check=True)
        return dict(np.load(out))

    def run_all(self, values, plain, learned):
        """Each entry as its inputs come to be there; what is learned comes with the prompt set."""
        left = [e for e in ("frozen_text", "image", "text", "model") if e in self.entries]
        self.entries = {e: [i for i in self.entries[e] if i not in learned and not i.startswith("prompts.")]
                        for e in left}
        while ready := [e for e in left if all(i in values for i in self.entries[e])]:
            entry = ready[0]
            left.remove(entry)
            if entry == "frozen_text":
                values |= self.run(entry, {"text": plain})
            elif entry == "text" and "image_features" in self.entries[entry]:  # texts of each image's own
                rows = [self.run(entry, {"text": values["text"], "image_features": f[None]})
                        for f in values["image_features"]]
                values["text_features"] = np.stack([r["text_features"] for r in rows])
            else:
                values |= self.run(entry, {k: values[k] for k in self.entries[entry]})
        assert not left, f"nothing runs {left}"
        return values


def template_tokens(folder, about):
    """Tokens of the case's template; the base has them for some templates."""
    prompts = json.loads((folder / "base.json").read_text())["prompts"]
    wanted = [about["template"].format(n.replace("_", " ")) for n in about["classnames"]]
    return np.load(folder / "base.npz")["tokens"][[prompts.index(w) for w in wanted]]


def parameters(folder, case, after):
    """Official values under vlpc's names; after three steps only where they are stored whole."""
    z, p = np.load(folder / "cases" / f"{case}.npz"), {}
    for name, value in np.load(folder / "cases" / f"{case}.params.npz").items():
        key = f"after3/{name}"
        if after and key not in z:
            return None
        p[canonical(name, CASES[case][3])] = z[key] if after else value
    return p


def scores(values, scale):
    if "logits_per_image" in values:
        return values["logits_per_image"]
    f, g = values["image_features"], values["text_features"]
    f, g = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (f, g))
    return scale * (np.einsum("be,bce->bc", f, g) if g.ndim == 3 else f @ g.T)


def run_case(vlpc, base, folder, case, work, passes):
    z = np.load(folder / "cases" / f"{case}.npz")
    about = json.loads((folder / "cases" / f"{case}.json").read_text())
    module, artifact = work / "module.onnx", work / "x.vlpc"
    subprocess.run([vlpc, "prompt", *MODULES[case].split(), "--size", "official", "-o", str(module), "-q"], check=True)
    subprocess.run([vlpc, "compile", f"{base}/image.onnx", f"{base}/text.onnx", "--prompt", str(module),
                    "-o", str(artifact), "-q", f"--passes={passes}"], check=True, stdout=subprocess.DEVNULL)
    prompts, far = work / "set.safetensors", {}
    tokens = z["tokens" if "tokens" in z else "template_tokens"].astype(np.int64)
    plain = template_tokens(folder, about) if case == "dpt_cavpt_k3_stage1" else tokens
    rows = 4 if case == "coop_csc_middle_m4" else 0
    for after in (False, True):
        learned = parameters(folder, case, after)
        if learned is None:
            continue
        write_set(prompts, MODULES[case].split()[0], learned)
        values = {"image": np.load(folder / "inputs.npz")["images"], "text": tokens,
                  "name_lengths": tokens.argmax(-1) - 2 - rows}
        a = Artifact(vlpc, str(artifact), work, prompts)
        values = a.run_all(values, plain.astype(np.int64), learned)
        held = [("logits_after3" if after else "logits", scores(values, 60.0))]
        if not after:
            held += [("eval/image_features", values["image_features"]), ("eval/text_features", values["text_features"])]
        for key, got in held:
            if key in z:
                kind = key.split("/")[-1]
                far[kind] = max(far.get(kind, 0), difference(torch.from_numpy(got), z[key]))
    return far


def switches(vlpc, base):
    """A switch for each name that the compiler offers when asked for one that there is not."""
    p = subprocess.run([vlpc, "compile", f"{base}/image.onnx", "-o", os.devnull, "--passes=--no-?"],
                       capture_output=True, text=True)
    return ["--no-" + name for name in p.stderr.split("expected: ")[1].split("\n")[0].split(", ")]


def main(vlpc, base, folder, wanted):
    folder, bad = pathlib.Path(folder), 0
    runs = [w.partition("=")[2] for w in wanted if w.startswith("--passes=")] or [""]
    if "--each" in wanted:
        runs = switches(vlpc, base)
    cases = [w for w in wanted if not w.startswith("--")] or CASES
    with tempfile.TemporaryDirectory() as work:
        for passes, case in ((p, c) for p in runs for c in cases):
            far = run_case(vlpc, base, folder, case, pathlib.Path(work), passes)
            ok = max(far.values()) <= LIMIT
            bad += not ok
            print(f"{case:22}", "ok  " if ok else "FAIL", " ".join(f"{k} {v:.1e}" for k, v in far.items()), passes, flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:4], sys.argv[4:]) else 0)
