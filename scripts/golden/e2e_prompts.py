#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies for tests/e2e/data/prompts: modules as `vlpc prompt` writes them for the
tiny CLIP of seed 1, and what an independent PyTorch implementation of the methods
gives (the files of tests/prompts/data), under the names that an artifact has.

    e2e_prompts.py VLPC tests/prompts/data tests/e2e/data/prompts
"""
import pathlib
import subprocess
import sys

import numpy as np

CASES = ["maple", "vpt_deep"]


def main():
    vlpc, source, target = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    options = {w[0]: w[1:] for w in map(str.split, (source / "cases.txt").read_text().splitlines())}
    pixels = np.load(source / "inputs.npz")["pixels"]
    for case in CASES:
        subprocess.run([vlpc, "prompt", options[case][0], "--size", "tiny", *options[case][1:], "-q",
                        "-o", target / f"{case}.onnx"], check=True)
        for loss in target.glob("*.loss*.onnx"):
            loss.unlink()
        g = np.load(source / f"{case}.npz")
        out = {"image": pixels, "text": g["tokens"], "want_image": g["image"], "want_text": g["text"]}
        out |= {k.removeprefix("param/"): v for k, v in g.items() if k.startswith("param/")}
        np.savez_compressed(target / f"{case}.npz", **out)


main()
