# SPDX-License-Identifier: Apache-2.0
"""The CLIPs that the goldens are made of, read from their ONNX files."""
import re

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F

from clip import Clip


def load_written(path, vision_heads, text_heads, dtype=torch.float64):
    """A CLIP that `vlpc model` wrote: checkpoint names, linear weights transposed."""
    w = {}
    for i in onnx.load(path).graph.initializer:
        a = torch.tensor(numpy_helper.to_array(i)).to(dtype)
        linear = a.ndim == 2 and (".attn." in i.name or ".mlp." in i.name)
        w[i.name] = a.T.contiguous() if linear else a
    return Clip(w, vision_heads, text_heads)


def load_small(path, dtype=torch.float64):
    """models/small_clip: an export whose products have lost their weights' names; nodes have kept their scopes."""
    graph, w = onnx.load(path).graph, {}
    value = {i.name.removesuffix("_f16"): torch.tensor(numpy_helper.to_array(i)).to(dtype) for i in graph.initializer}
    for name, a in value.items():
        if name.startswith("m."):
            w[name[2:]] = a
        elif name.startswith("onnx::Add"):
            w["visual.class_embedding"] = a
    for node in graph.node:
        if node.op_type != "MatMul" or not node.input[1].startswith("onnx::MatMul"):
            continue
        a = value[node.input[1]].T.contiguous()
        scope, part = re.match(r"/(.*resblocks\.\d+)/(attn|mlp)", node.name).groups()
        ratio = a.shape[0] / a.shape[1]
        last = {3: "in_proj_weight", 1: "out_proj.weight", 4: "c_fc.weight", 0.25: "c_proj.weight"}[ratio]
        w[f"{scope.replace('/', '.')}.{part}.{last}"] = a
    return Clip(w, vision_heads=3, text_heads=3, gelu=F.gelu, eps=(1e-6, 1e-5))
