#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of the whole line.

  e2e.py --shared DIR --tiny DIR    writes tests/e2e/data/

--tiny names a folder with model.onnx, image.onnx and text.onnx, written by
  vlpc model clip --size tiny --seed 1 [--two-files] -o DIR
tiny.npz        what ONNX Runtime computes from them for the inputs of e2e_kit.c
small_clip.npz  rows of small_clip/expected.npz (PyTorch) in half precision: the
                photos that ship, and every third string without line breaks
small_clip_{photos,texts}.txt   which rows these are
"""
import argparse
import pathlib

import numpy as np
import onnxruntime

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/e2e/data"
SHIPPED = {"images/caltech101_test/": "caltech101/", "images/eurosat_test/": "eurosat_test/"}


def run(path, image, text):
    session = onnxruntime.InferenceSession(str(path))
    given = {i.name: image if len(i.shape) == 4 else text for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, given)))


def tiny(folder):
    i, j = np.arange(2 * 3 * 32 * 32), np.arange(3 * 16)
    image = ((i * 37 % 101) / 50 - 1).astype(np.float32).reshape(2, 3, 32, 32)
    text = np.where(j % 16 == 9, 511, 1 + j * 13 % 400).astype(np.int64).reshape(3, 16)
    out = {}
    for name in ("model", "image", "text"):
        out |= run(folder / f"{name}.onnx", image, text)
    np.savez(OUT / "tiny.npz", **out)


def small_clip(shared):
    z = np.load(shared / "data/small_clip/expected.npz")
    rows, photos = [], []
    for i, name in enumerate(map(str, z["image_files"])):
        for old, new in SHIPPED.items():
            if name.startswith(old):
                rows.append(i)
                photos.append(new + name[len(old):])
    plain = [i for i, s in enumerate(map(str, z["strings"])) if s.isascii() and s.isprintable()]
    keep = [i for i in plain if "&" not in z["strings"][i]][::3]
    np.savez(OUT / "small_clip.npz", image_features=z["image_features"][rows].astype(np.float16),
             text_features=z["text_features"][keep].astype(np.float16))
    (OUT / "small_clip_photos.txt").write_text("".join(f"{p}\n" for p in photos))
    (OUT / "small_clip_texts.txt").write_text("".join(f"{z['strings'][i]}\n" for i in keep))


arguments = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--shared", type=pathlib.Path, required=True)
arguments.add_argument("--tiny", type=pathlib.Path, required=True)
options = arguments.parse_args()
tiny(options.tiny)
small_clip(options.shared)
