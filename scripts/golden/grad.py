#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/e2e/data/grad_tiny.npz: PyTorch's loss and gradients, in double, of
the prompted CLIP of e2e_grad.c.

  grad.py --tiny DIR    DIR has the model.onnx that
                        vlpc model clip --size tiny --seed 1 -o DIR writes
Two prompt rows are appended to the image stream before block 0; rows 1 to 4 of
the text stream are replaced there.  The loss is cross-entropy.
"""
import argparse
import pathlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/e2e/data/grad_tiny.npz"
HEADS, PATCH, LABELS = 2, 8, [2, 0]
# As the file has them: in single precision.
EPS, SCALE = float(np.float32(1e-5)), float(np.float32(1 / np.sqrt(32)))


def number(n, *shape):
    return torch.tensor((np.arange(n) * 29 % 97 - 48) / 128).reshape(shape)


def norm(x, w, name):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], EPS)


def block(x, w, name, causal):
    split = lambda a: a.reshape(*a.shape[:2], HEADS, -1).transpose(1, 2)
    y = norm(x, w, name + ".ln_1") @ w[name + ".attn.in_proj_weight"] + w[name + ".attn.in_proj_bias"]
    q, k, v = map(split, y.chunk(3, -1))
    a = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=SCALE).transpose(1, 2).flatten(2)
    x = x + a @ w[name + ".attn.out_proj.weight"] + w[name + ".attn.out_proj.bias"]
    y = norm(x, w, name + ".ln_2") @ w[name + ".mlp.c_fc.weight"] + w[name + ".mlp.c_fc.bias"]
    y = y * torch.sigmoid(1.702 * y)
    return x + y @ w[name + ".mlp.c_proj.weight"] + w[name + ".mlp.c_proj.bias"]


def tower(x, w, name, causal):
    for i in range(3):
        x = block(x, w, f"{name}.{i}", causal)
    return x


arguments = argparse.ArgumentParser(description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--tiny", type=pathlib.Path, required=True)
model = onnx.load(arguments.parse_args().tiny / "model.onnx")
w = {i.name: torch.tensor(onnx.numpy_helper.to_array(i).astype(np.float64))
     for i in model.graph.initializer if not i.name.startswith("constant")}
i, j = np.arange(2 * 3 * 32 * 32), np.arange(3 * 16)
image = torch.tensor(((i * 37 % 101) / 50 - 1).astype(np.float32).astype(np.float64)).reshape(2, 3, 32, 32)
text = torch.tensor(np.where(j % 16 == 9, 511, 1 + j * 13 % 400)).reshape(3, 16)
prompt, context = number(2 * 64, 2, 64).requires_grad_(), number(4 * 64, 4, 64).requires_grad_()

x = F.conv2d(image, w["visual.conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
x = torch.cat([w["visual.class_embedding"].expand(2, 1, -1), x], 1) + w["visual.positional_embedding"]
x = torch.cat([norm(x, w, "visual.ln_pre"), prompt.expand(2, -1, -1)], 1)
x = tower(x, w, "visual.transformer.resblocks", False)
x = F.normalize(norm(x[:, 0], w, "visual.ln_post") @ w["visual.proj"], dim=-1)
t = w["token_embedding.weight"][text] + w["positional_embedding"]
t = torch.cat([t[:, :1], context.expand(3, -1, -1), t[:, 5:]], 1)
t = norm(tower(t, w, "transformer.resblocks", True), w, "ln_final")
t = F.normalize(t[torch.arange(3), text.argmax(1)] @ w["text_projection"], dim=-1)
loss = F.cross_entropy(w["logit_scale"].float().exp().double() * x @ t.T, torch.tensor(LABELS))
loss.backward()
np.savez(OUT, loss=loss.detach().numpy().reshape(1), prompt=prompt.grad.numpy(),
         context=context.grad.numpy())
print(float(loss.detach()), prompt.grad.abs().max(), context.grad.abs().max())
