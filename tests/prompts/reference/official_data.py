# SPDX-License-Identifier: Apache-2.0
"""Writes what prompt_official needs of the official cases:

    python official_data.py SHARED/data/official tests/prompts/data [CASE ...]

official.npz: for each CASE tokens, template_tokens, param/NAME under vlpc's names, image, text (features, not of
unit length), logits; tokens and logits of CASE.after, whose values an official checkpoint has; pixels.  Without names all cases but those of LARGE, whose files are written where they are asked for.
ziggurat.npz: ki, wi, fi of numpy's normal distribution (numpy/random/src/distributions/ziggurat_constants.h,
BSD-3-Clause), found in its library by their first elements.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import numpy.random

from official import CASES, canonical
from official_vlpc import template_tokens

LARGE = ("maple_m2_d3", "dpt_cavpt_k3_stage1")
AFTER = ("coop_end_m4", "kgcoop_w8", "provp_m8", "vpt_deep_m4_d3")  # those with a checkpoint


def ziggurat():
    path = next(pathlib.Path(numpy.random.__path__[0]).glob("_generator*.so"))
    data, out = path.read_bytes(), {}
    first = {"ki": struct.pack("<QQ", 0x000EF33D8025EF6A, 0), "wi": struct.pack("<d", 8.68362706080130616677e-16),
             "fi": struct.pack("<dd", 1.0, 9.77101701267671596263e-01)}
    for name, start in first.items():
        out[name] = np.frombuffer(data, "<i8" if name == "ki" else "<f8", 256, data.index(start))
    return out


def values(folder, case):
    z = np.load(folder / "cases" / f"{case}.npz")
    about = json.loads((folder / "cases" / f"{case}.json").read_text())
    out = {"tokens": z["tokens" if "tokens" in z else "template_tokens"].astype(np.int64), "logits": z["logits"]}
    if case == "dpt_cavpt_k3_stage1":
        out["template_tokens"] = template_tokens(folder, about).astype(np.int64)
    start = np.load(folder / "cases" / f"{case}.params.npz") if case not in LARGE else {}
    out |= {"param/" + canonical(name, CASES[case][3]): value for name, value in start.items()}
    out |= {k: z[f"eval/{k}_features"] for k in ("image", "text") if f"eval/{k}_features" in z}
    after = {"tokens": out["tokens"], "logits": z["logits_after3"]} if case in AFTER else {}
    return {f"{case}/{k}": v for k, v in out.items()} | {f"{case}.after/{k}": v for k, v in after.items()}


def main(folder, out):
    folder, out, arrays = pathlib.Path(folder), pathlib.Path(out), {}
    arrays["pixels"] = np.load(folder / "inputs.npz")["images"]
    for case in CASES:
        arrays |= values(folder, case)
    np.savez_compressed(out / "official.npz", **arrays)
    np.savez_compressed(out / "ziggurat.npz", **ziggurat())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
