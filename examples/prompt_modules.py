# SPDX-License-Identifier: Apache-2.0
"""Two prompt learners in plain PyTorch, exported as prompt modules for vlpc:

    python prompt_modules.py OUT [TEXT_WIDTH IMAGE_WIDTH]

A module is a graph that gives prompt rows, and a declaration of where they go.
This writes maple_*.onnx with the declaration in its metadata, vpt_*.onnx with a
vpt_*.json beside it, each by both of PyTorch's exporters.
docs/prompt-modules.md explains every part.
"""
import json
import pathlib
import sys

import onnx
import torch
from torch import nn


class Maple(nn.Module):
    """Rows for the first `depth` text layers, and through linear layers the rows for the image layers."""

    def __init__(self, rows, depth, text_width, image_width):
        super().__init__()
        self.ctx = nn.Parameter(torch.zeros(rows, text_width))
        self.proj = nn.Linear(text_width, image_width)
        self.compound_prompts_text = nn.ParameterList(
            [nn.Parameter(0.02 * torch.randn(rows, text_width)) for _ in range(depth - 1)])
        self.compound_prompt_projections = nn.ModuleList(
            [nn.Linear(text_width, image_width) for _ in range(depth - 1)])

    def forward(self):
        text = [self.ctx, *self.compound_prompts_text]
        couple = [self.proj, *self.compound_prompt_projections]
        out = []
        for rows, linear in zip(text, couple):
            out += [rows.clone(), linear(rows)]  # clone: an output that is a parameter would take its name
        return tuple(out)  # t0, v0, t1, v1, ...

    def declaration(self):
        depth, bound = 1 + len(self.compound_prompts_text), self.proj.in_features ** -0.5
        start = {"ctx": {"words": "a photo of a", "first": 0}}
        for name, p in self.named_parameters():
            start.setdefault(name, {"normal": 0.02} if name.startswith("compound_prompts") else {"uniform": bound})
        writes = []
        for l in range(depth):
            writes.append({"point": f"T.{l}" if l else "T.emb", "segment": "slot", "value": f"t{l}"})
            writes.append({"point": f"V.{l}" if l else "V.pre", "segment": "prompt", "value": f"v{l}"})
        return {"vlpc_prompt": 1, "method": "my-maple",
                "slot": {"rows": len(self.ctx), "place": "end", "phrase": "a photo of a"},
                "trainable": [{"name": n, "init": i} for n, i in start.items()],
                "taps": [], "writes": writes}

    def outputs(self):
        return [w["value"] for w in self.declaration()["writes"]]


class Vpt(nn.Module):
    """Rows beside the patches, replaced at each of the first `depth` image layers."""

    def __init__(self, rows, depth, width):
        super().__init__()
        self.VPT = nn.Parameter(0.02 * torch.randn(rows, width))
        self.resblocks = nn.ModuleDict()
        for l in range(1, depth):
            block = nn.Module()
            block.VPT_shallow = nn.Parameter(0.02 * torch.randn(rows, width))
            self.resblocks[str(l)] = block

    def forward(self):
        return tuple(p.clone() for p in self.parameters())

    def declaration(self):
        names = [n for n, _ in self.named_parameters()]
        return {"vlpc_prompt": 1, "method": "my-vpt",
                "trainable": [{"name": n, "init": {"normal": 0.02}} for n in names],
                "taps": [],
                "writes": [{"point": f"V.{l}" if l else "V.pre", "segment": "prompt", "value": f"v{l}"}
                           for l in range(len(names))]}

    def outputs(self):
        return [w["value"] for w in self.declaration()["writes"]]


def export(module, path, dynamo):
    """Parameters must come out as initializers under their own names: nothing may be folded."""
    if dynamo:
        torch.onnx.export(module, (), path, dynamo=True, optimize=False, external_data=False,
                          output_names=module.outputs())
    else:
        torch.onnx.export(module, (), path, dynamo=False, do_constant_folding=False, opset_version=17,
                          output_names=module.outputs())
    model = onnx.load(path)
    for node in model.graph.node:  # the dynamo exporter notes source lines of this machine
        del node.metadata_props[:]
    have = {i.name for i in model.graph.initializer}
    assert {n for n, _ in module.named_parameters()} <= have, "a parameter was folded or renamed"
    return model


def main(out, text_width=64, image_width=64):
    torch.manual_seed(0)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    modules = {"maple": Maple(2, 3, text_width, image_width), "vpt": Vpt(3, 2, image_width)}
    for name, module in modules.items():
        for exporter in ("legacy", "dynamo"):
            path, text = out / f"{name}_{exporter}.onnx", json.dumps(module.declaration())
            model = export(module, str(path), exporter == "dynamo")
            if name == "maple":
                model.metadata_props.append(onnx.StringStringEntryProto(key="vlpc.prompt", value=text))
            else:
                path.with_suffix(".json").write_text(text + "\n")
            onnx.checker.check_model(model)
            onnx.save(model, str(path))
            print("wrote", path)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
