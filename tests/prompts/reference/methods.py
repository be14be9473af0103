# SPDX-License-Identifier: Apache-2.0
"""Every prompt method as formulas: (clip, parameters, inputs) -> Result.

Parameters are a dict under the names that vlpc's prompt modules and prompt sets
use.  `inputs` holds pixels [B,3,S,S], tokens [C,T] of "<m rows> name .", labels
[B], and where a method needs them template_tokens (of the frozen texts).
Setting a method up (place, depth, shares) is done by keyword arguments.

Result.rows has what is written into the towers, under the names of a module's
outputs: t0 and v0 at the first site, t1, v1 before block 1, and so on.
Result.seen has what a module reads of the towers, under the point and segment.
"""
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F


@dataclass
class Result:
    image: torch.Tensor  # [B,E] before normalisation
    text: torch.Tensor   # [C,E], or [B,C,E]
    logits: torch.Tensor
    aux: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    seen: dict = field(default_factory=dict)


# --- the two ways rows get into a tower ---

def with_context(clip, tokens, ctx, place="end"):
    """Token rows with the m rows of ctx ([m,D] or [C,m,D]) in the places that the tokens of tokens reserve."""
    rows, m = clip.embed(tokens), ctx.shape[-2]
    ctx = ctx.expand(len(tokens), *ctx.shape[-2:])
    first, rest = rows[:, :1], rows[:, 1 + m:]
    if place == "end":
        return torch.cat([first, ctx, rest], 1)
    name = tokens.argmax(-1) - 2 - m  # rows between the slot and the full stop
    out = []
    for c, n in enumerate(name.tolist()):
        half = m // 2 if place == "middle" else 0
        out.append(torch.cat([first[c], ctx[c, :half], rest[c, :n], ctx[c, half:], rest[c, n:]]))
    return torch.stack(out)


def overwrite_text(deep):
    """Rows 1 .. m become deep[l - 1] before block l."""
    def before(l, x):
        if not 1 <= l <= len(deep):
            return x
        p = deep[l - 1]
        return torch.cat([x[:, :1], p.expand(len(x), -1, -1), x[:, 1 + len(p):]], 1)
    return before


def overwrite_image(deep):
    """The last m rows become deep[l - 1] before block l."""
    def before(l, x):
        if not 1 <= l <= len(deep):
            return x
        p = deep[l - 1]
        return torch.cat([x[:, :-len(p)], p.expand(len(x), -1, -1)], 1)
    return before


def renew_image(ctx):
    """The rows of ctx [J,m,D] stand at the end before block l, in place of those of the block before."""
    m = ctx.shape[1]

    def before(l, x):
        if l > 0 and l <= len(ctx):
            x = x[:, :-m]
        return torch.cat([x, ctx[l].expand(len(x), -1, -1)], 1) if l < len(ctx) else x
    return before


def numbered(p, pattern):
    out = []
    for l in range(64):
        if pattern % l in p:
            out.append(p[pattern % l])
    return out


def finish(clip, image, text, aux=None, rows=None, seen=None):
    return Result(image, text, clip.logits(image, text), aux or {}, rows or {}, seen or {})


def sites(prefix, values):
    return {f"{prefix}{l}": v for l, v in enumerate(values)}


# --- no parameters ---

def zero_shot(clip, p, x):
    text = clip.plain_text(x["tokens"])
    return finish(clip, clip.image_features(x["pixels"]), text, rows={"text": text}, seen={"T.feat": text})


def zero_shot_ensemble(clip, p, x):
    """template_tokens [K,C,T]: the mean over templates of unit features."""
    each = torch.stack([F.normalize(clip.plain_text(t), dim=-1) for t in x["template_tokens"]])
    text = each.mean(0)
    return finish(clip, clip.image_features(x["pixels"]), text, rows={"text": text}, seen={"T.feat": text})


# --- text ---

def coop(clip, p, x, place="end"):
    rows = with_context(clip, x["tokens"], p["ctx"], place)
    text = clip.text_features(rows, x["tokens"].argmax(-1))
    return finish(clip, clip.image_features(x["pixels"]), text, rows={"t0": p["ctx"]})


kgcoop = coop


def cocoop(clip, p, x):
    image = clip.image_features(x["pixels"])
    h = F.relu(F.linear(F.normalize(image, dim=-1), p["meta_net.linear1.weight"], p["meta_net.linear1.bias"]))
    shift = F.linear(h, p["meta_net.linear2.weight"], p["meta_net.linear2.bias"])
    end = x["tokens"].argmax(-1)
    text = torch.stack([clip.text_features(with_context(clip, x["tokens"], p["ctx"] + s), end) for s in shift])
    unit = F.normalize(image, dim=-1)
    logits = clip.scale * torch.einsum("be,bce->bc", unit, F.normalize(text, dim=-1))
    shifted = p["ctx"] + shift[:, None, None, :]  # [B,1,m,D]
    return Result(image, text, logits, {}, {"t0": shifted}, {"V.feat.norm": unit})


def deep_text(clip, p, x):
    deep = numbered(p, "text.resblocks.%d.VPT_shallow")
    rows = with_context(clip, x["tokens"], p["ctx"])
    text = clip.text_features(rows, x["tokens"].argmax(-1), overwrite_text(deep))
    return finish(clip, clip.image_features(x["pixels"]), text, rows=sites("t", [p["ctx"], *deep]))


# --- images ---

def vpt(clip, p, x):
    """MaPLe's port: the first rows enter before ln_pre."""
    deep = numbered(p, "resblocks.%d.VPT_shallow")
    image = clip.image_features(x["pixels"], p["VPT"], overwrite_image(deep))
    return finish(clip, image, clip.plain_text(x["tokens"]), rows=sites("v", [p["VPT"], *deep]))


def vpt_dpt(clip, p, x):
    """DPT's port: the first rows enter after ln_pre."""
    image = clip.image_features(x["pixels"], before=renew_image(p["ctx"]))
    return finish(clip, image, clip.plain_text(x["tokens"]), rows=sites("v", p["ctx"]))


def provp(clip, p, x, keep_share=0.01):
    rows = p["prompt_embeddings"]
    m, written, seen = rows.shape[1], {"v0": rows[0]}, {}

    def before(l, v):
        if l == 0:
            return torch.cat([v[:, :1], rows[0].expand(len(v), -1, -1), v[:, 1:]], 1)
        if l >= len(rows):
            return v
        seen[f"V.{l} prompt"] = v[:, 1:1 + m]
        mixed = keep_share * v[:, 1:1 + m] + (1 - keep_share) * rows[l]
        written[f"v{l}"] = mixed
        return torch.cat([v[:, :1], mixed, v[:, 1 + m:]], 1)

    image = clip.image_features(x["pixels"], before=before)
    return finish(clip, image, clip.plain_text(x["tokens"]), rows=written, seen=seen)


provp_ref = provp


# --- both ---

def ivlp(clip, p, x):
    text = numbered(p, "text.resblocks.%d.VPT_shallow")
    vision = numbered(p, "visual.resblocks.%d.VPT_shallow")
    rows = with_context(clip, x["tokens"], p["ctx"])
    g = clip.text_features(rows, x["tokens"].argmax(-1), overwrite_text(text))
    written = sites("t", [p["ctx"], *text]) | sites("v", [p["visual.VPT"], *vision])
    f = clip.image_features(x["pixels"], p["visual.VPT"], overwrite_image(vision))
    return finish(clip, f, g, rows=written)


promptsrc = ivlp


def maple(clip, p, x):
    deep = numbered(p, "compound_prompts_text.%d")
    one = "compound_prompt_projections.0.weight" not in p  # MaPLe with one coupling for all depths
    name = "proj" if one else "compound_prompt_projections.%d"
    first = F.linear(p["ctx"], p["proj.weight"], p["proj.bias"])
    coupled = []
    for k, t in enumerate(deep):
        at = name if one else name % k
        coupled.append(F.linear(t, p[at + ".weight"], p[at + ".bias"]))
    rows = with_context(clip, x["tokens"], p["ctx"])
    text = clip.text_features(rows, x["tokens"].argmax(-1), overwrite_text(deep))
    written = sites("t", [p["ctx"], *deep]) | sites("v", [first, *coupled])
    return finish(clip, clip.image_features(x["pixels"], first, overwrite_image(coupled)), text, rows=written)


maple_unified = maple


def frozen(clip, x):
    """The un-prompted features: images, and texts of the templates unless a teacher gives them."""
    g0 = x["teacher_text"] if "teacher_text" in x else clip.plain_text(x["template_tokens"])
    return clip.image_features(x["pixels"]).detach(), g0.detach()


def dpt(clip, p, x):
    rows = with_context(clip, x["tokens"], p["ctx"])
    text = clip.text_features(rows, x["tokens"].argmax(-1))
    image = clip.image_features(x["pixels"], before=renew_image(p["visual.ctx"]))
    return finish(clip, image, text, rows={"t0": p["ctx"]} | sites("v", p["visual.ctx"]))


def dpt_cavpt(clip, p, x, top=10):
    """Class-aware rows before the last block: cross-attention of the top classes' text features to the image."""
    f0, g0 = frozen(clip, x)
    text = clip.text_features(with_context(clip, x["tokens"], p["ctx"]), x["tokens"].argmax(-1))
    picked = clip.logits(f0, g0).topk(min(top, len(text)), dim=-1).indices
    plain, last, m, aux = p["visual.ctx"], clip.vision_layers - 1, p["visual.ctx"].shape[1], {"picked": picked}
    written = {"t0": p["ctx"]} | sites("v", plain)
    seen = {"frozen.logits": clip.logits(f0, g0), "T.feat": text}
    e = {k[len("extractor."):]: v for k, v in p.items() if k.startswith("extractor.")}

    def norm(v, at):
        return F.layer_norm(v, v.shape[-1:], e[at + ".weight"], e[at + ".bias"], 1e-5)

    def before(l, v):
        if l > 0:
            v = v[:, :-m]
        if l < last:
            return torch.cat([v, plain[l].expand(len(v), -1, -1)], 1)
        q0 = F.linear(text[picked], e["meta_nets.0.weight"], e["meta_nets.0.bias"])
        kv = torch.cat([v.detach(), e["ctx"][0].expand(len(v), -1, -1)], 1)
        q, k = F.linear(q0, e["attns.0.qmlp.weight"]), F.linear(kv, e["attns.0.kmlp.weight"])
        share = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        o = F.linear(share @ kv, e["attns.0.vmlp.weight"])
        aux["layer_logits"] = F.linear(norm(o, "lns.0"), e["classfiers.0.weight"])
        seen[f"V.{last} cls+patch"] = v
        written[f"v{last}"] = norm(o + q0, "lns2.0")
        return torch.cat([v, written[f"v{last}"]], 1)

    image = clip.image_features(x["pixels"], before=before)
    return finish(clip, image, text, aux, written, seen)


# --- adapters ---

def clip_adapter(clip, p, x, share=0.2):
    f = clip.image_features(x["pixels"])
    a = F.relu(F.linear(F.relu(F.linear(f, p["fc.0.weight"])), p["fc.2.weight"]))
    mixed = share * a + (1 - share) * f
    return finish(clip, mixed, clip.plain_text(x["tokens"]), rows={"adapted": mixed}, seen={"V.feat": f})


def tip_adapter(clip, p, x):
    """keys [N,E] of unit length, values [C,N] with a 1 for the class of each, numbers alpha and beta."""
    r = zero_shot(clip, p, x)
    unit = F.normalize(r.image, dim=-1)
    scored = r.logits + p["alpha"] * (-p["beta"] * (1 - unit @ p["keys"].T)).exp() @ p["values"].T
    return Result(r.image, r.text, scored, {}, {"scored": scored}, {"V.feat.norm": unit, "logits": r.logits})
