# SPDX-License-Identifier: Apache-2.0
"""The losses: (clip, result of a method, inputs) -> scalar."""
import torch
from torch.nn import functional as F

from methods import frozen


def unit(v):
    return F.normalize(v, dim=-1)


def cross_entropy(clip, r, x):
    return F.cross_entropy(r.logits, x["labels"])


def kgcoop(clip, r, x, weight=8.0):
    _, g0 = frozen(clip, x)
    return cross_entropy(clip, r, x) + weight * (1 - F.cosine_similarity(r.text, g0, dim=-1).mean())


def promptsrc(clip, r, x, text=25.0, image=10.0):
    """teacher_text [C,E]: means over templates of un-normalised frozen features."""
    f0, g0 = frozen(clip, x)
    teacher = clip.logits(f0, g0).log_softmax(-1)
    student = r.logits.log_softmax(-1)
    kl = (teacher.exp() * (teacher - student)).sum() / r.logits.numel()
    return (cross_entropy(clip, r, x) + text * (unit(r.text) - unit(g0)).abs().mean()
            + image * (unit(r.image) - unit(f0)).abs().mean() + kl)


def provp_ref(clip, r, x, weight=1.0):
    """In-batch identity: each prompted image finds its own frozen feature, temperature 1."""
    score = unit(r.image) @ unit(clip.image_features(x["pixels"]).detach()).T
    return cross_entropy(clip, r, x) + weight * F.cross_entropy(score, torch.arange(len(score)))


def dpt_stage1(clip, r, x, share=0.1):
    f0, g0 = frozen(clip, x)
    ce = lambda f, g: F.cross_entropy(clip.logits(f, g), x["labels"])
    return ce(f0, r.text) + ce(r.image, g0) + share * ce(r.image, r.text)


def class_rows(r, x):
    """Mean cross-entropy of the class-aware rows whose class is the label; 0 when there are none."""
    hit = r.aux["picked"] == x["labels"][:, None]
    if not hit.any():
        return torch.zeros((), dtype=r.logits.dtype)
    target = x["labels"][:, None].expand_as(hit)[hit]
    return F.cross_entropy(r.aux["layer_logits"][hit], target)


def dpt_cavpt_stage1(clip, r, x, alpha=0.3):
    return dpt_stage1(clip, r, x) + alpha * class_rows(r, x)


def dpt_cavpt_stage2(clip, r, x, alpha=0.3):
    return cross_entropy(clip, r, x) + alpha * class_rows(r, x)
