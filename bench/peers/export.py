# SPDX-License-Identifier: Apache-2.0
"""Writes one tower as ONNX: export.py SIZE image|text legacy|dynamo FILE"""
import sys

import torch

import clip


def example(size, tower):
    s = clip.SIZES[size]
    if tower == "image":
        return torch.randn(2, 3, s.pixels, s.pixels)
    ids = torch.randint(1, s.vocabulary - 2, (2, s.context))
    ids[:, 9] = s.vocabulary - 1
    return ids


def export(size, tower, exporter, path):
    module, names = clip.make(size, tower), {"input_names": [tower]}
    names["output_names"] = [tower + "_features"]
    args = (example(size, tower),)
    if exporter == "dynamo":
        torch.onnx.export(module, args, path, dynamo=True, external_data=False, **names,
                          dynamic_shapes=({0: torch.export.Dim("batch")},))
    else:
        axes = {name[0]: {0: "batch"} for name in names.values()}
        torch.onnx.export(module, args, path, dynamo=False, opset_version=17, **names,
                          dynamic_axes=axes)


if __name__ == "__main__":
    export(*sys.argv[1:5])
