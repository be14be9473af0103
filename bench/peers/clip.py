# SPDX-License-Identifier: Apache-2.0
"""CLIP in plain PyTorch with seeded weights, as its users write it.

Names of parameters are those of the released checkpoints.  `flops` counts the
multiply-adds of a tower twice, every token and every attention score included:
one count for all peers, whatever each leaves out.
"""
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Size:
    patch: int
    pixels: int = 224
    width: int = 768
    layers: int = 12
    heads: int = 12
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    vocabulary: int = 49408
    context: int = 77
    embed: int = 512


SIZES = {"b32": Size(32), "b16": Size(16),
         "l14": Size(14, width=1024, layers=24, heads=16, text_width=768, text_heads=12, embed=768)}


def flops(size, tower, batch):
    s = SIZES[size]
    if tower == "image":
        patches, width, layers = (s.pixels // s.patch) ** 2, s.width, s.layers
        rows, embedding = patches + 1, 2 * patches * 3 * s.patch**2 * s.width
    else:
        rows, width, layers, embedding = s.context, s.text_width, s.text_layers, 0
    layer = 24 * rows * width**2 + 4 * rows**2 * width
    return batch * (embedding + layers * layer + 2 * width * s.embed)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.randn(3 * width) * 0.02)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x, causal):
        batch, rows, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        heads = qkv.view(batch, rows, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(batch, rows, width))


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.causal = causal
        self.attn = Attention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x), self.causal)
        return x + self.mlp(self.ln_2(x))


class ImageTower(nn.Module):
    def __init__(self, s):
        super().__init__()
        rows, scale = (s.pixels // s.patch) ** 2 + 1, s.width**-0.5
        self.conv1 = nn.Conv2d(3, s.width, s.patch, s.patch, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(s.width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(rows, s.width))
        self.ln_pre = nn.LayerNorm(s.width)
        self.resblocks = nn.Sequential(*(Block(s.width, s.heads, False) for _ in range(s.layers)))
        self.ln_post = nn.LayerNorm(s.width)
        self.proj = nn.Parameter(scale * torch.randn(s.width, s.embed))

    def forward(self, image):
        x = self.conv1(image).flatten(2).transpose(1, 2)
        cls = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding)
        return self.ln_post(self.resblocks(x)[:, 0]) @ self.proj


class TextTower(nn.Module):
    def __init__(self, s):
        super().__init__()
        width = s.text_width
        self.token_embedding = nn.Embedding(s.vocabulary, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(s.context, width))
        blocks = (Block(width, s.text_heads, True) for _ in range(s.text_layers))
        self.resblocks = nn.Sequential(*blocks)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, s.embed))

    def forward(self, text):
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.resblocks(x))
        return x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection


def make(size, tower, seed=0):
    torch.manual_seed(seed)
    module = {"image": ImageTower, "text": TextTower}[tower](SIZES[size])
    return module.eval().requires_grad_(False)
