# SPDX-License-Identifier: Apache-2.0
"""CLIP's two towers as formulas, with a place to change rows before each block.

Weights are a dict of tensors under the names of the released checkpoints; every
size is read from them, only the number of heads must be told.  The towers take
a function `before(l, x)`, called with the rows [batch, rows, width] that block
l is about to read, which gives the rows it shall read instead.
"""
import math
import re
from dataclasses import dataclass

import torch
from torch.nn import functional as F


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def keep(_, x):
    return x


@dataclass
class Clip:
    w: dict
    vision_heads: int
    text_heads: int
    gelu: object = quick_gelu
    eps: tuple = (1e-5, 1e-5)  # of image and text tower

    def layers(self, prefix):
        found = (re.match(re.escape(prefix) + r"\.(\d+)\.", k) for k in self.w)
        return 1 + max(int(m[1]) for m in found if m)

    @property
    def vision_layers(self):
        return self.layers("visual.transformer.resblocks")

    @property
    def text_layers(self):
        return self.layers("transformer.resblocks")

    @property
    def scale(self):
        return self.w["logit_scale"].exp()

    def norm(self, x, name, eps):
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def block(self, x, name, heads, causal, eps):
        w = {k: self.w[f"{name}.{k}"] for k in (
            "attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias",
            "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias")}
        b, n, d = x.shape
        qkv = F.linear(self.norm(x, name + ".ln_1", eps), w["attn.in_proj_weight"], w["attn.in_proj_bias"])
        q, k, v = (t.reshape(b, n, heads, d // heads).transpose(1, 2) for t in qkv.split(d, dim=-1))
        score = q @ k.transpose(-1, -2) / math.sqrt(d // heads)
        if causal:
            score = score + torch.full((n, n), -math.inf, dtype=x.dtype).triu(1)
        y = (score.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)
        x = x + F.linear(y, w["attn.out_proj.weight"], w["attn.out_proj.bias"])
        h = self.gelu(F.linear(self.norm(x, name + ".ln_2", eps), w["mlp.c_fc.weight"], w["mlp.c_fc.bias"]))
        return x + F.linear(h, w["mlp.c_proj.weight"], w["mlp.c_proj.bias"])

    def image_features(self, pixels, pre=None, before=keep):
        """Features [B, E] before normalisation.  pre [k, D] joins the rows before ln_pre, without a position."""
        conv = self.w["visual.conv1.weight"]
        x = F.conv2d(pixels, conv, self.w.get("visual.conv1.bias"), stride=conv.shape[-1]).flatten(2).transpose(1, 2)
        cls = self.w["visual.class_embedding"].expand(len(x), 1, -1)
        x = torch.cat([cls, x], 1) + self.w["visual.positional_embedding"]
        if pre is not None:
            x = torch.cat([x, pre.expand(len(x), *pre.shape[-2:])], 1)
        if "visual.ln_pre.weight" in self.w:
            x = self.norm(x, "visual.ln_pre", self.eps[0])
        for l in range(self.vision_layers):
            x = self.block(before(l, x), f"visual.transformer.resblocks.{l}", self.vision_heads, False, self.eps[0])
        return self.norm(x[:, 0], "visual.ln_post", self.eps[0]) @ self.w["visual.proj"]

    def embed(self, tokens):
        return self.w["token_embedding.weight"][tokens]

    def text_features(self, rows, end, before=keep):
        """Features [C, E] before normalisation of token rows [C, T, D] whose end token is at row end[c]."""
        x = rows + self.w["positional_embedding"][:rows.shape[1]]
        for l in range(self.text_layers):
            x = self.block(before(l, x), f"transformer.resblocks.{l}", self.text_heads, True, self.eps[1])
        x = self.norm(x, "ln_final", self.eps[1])
        return x[torch.arange(len(x)), end] @ self.w["text_projection"]

    def plain_text(self, tokens):
        return self.text_features(self.embed(tokens), tokens.argmax(-1))

    def logits(self, image, text):
        return self.scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).transpose(-1, -2)
