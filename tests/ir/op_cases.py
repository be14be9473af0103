# SPDX-License-Identifier: Apache-2.0
"""Writes op_cases.inc: for every op cases with results computed by numpy and
PyTorch in double precision.  Needs numpy and torch; run it in this folder after
adding a case:  python op_cases.py"""
import textwrap

import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(5)
rows = []
inf, nan = np.inf, np.nan
TYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "int32": "I32", "int8": "I8",
         "uint8": "U8", "int16": "I16", "uint16": "U16", "bool": "BOOL"}


def number(v):
    if isinstance(v, (bool, np.bool_, int, np.integer)):
        return str(int(v))
    if v != v:
        return "NAN"
    if np.isinf(v):
        return "INFINITY" if v > 0 else "-INFINITY"
    return "-0.0" if v == 0 and np.signbit(v) else repr(float(v)).removesuffix(".0")


def value(a):
    if a is None:
        return "ABSENT"
    a = np.asarray(a)
    kind, v = TYPES[a.dtype.name], ", ".join(number(x) for x in a.ravel())
    if a.ndim == 0:
        return f"SCALAR({kind}, {v})"
    return f"VALUE({kind}, ({', '.join(map(str, a.shape))}), {v or '0'})"


def attribute(key, v):
    if isinstance(v, str):
        return f'TEXT({key}, "{v}")'
    if isinstance(v, float):
        return f"REAL({key}, {number(v)})"
    if isinstance(v, int):
        return f"INT({key}, {v})"
    return f"INTS({key}, {', '.join(map(str, v))})" if v else f"EMPTY({key})"


def case(op, ins, out, **attrs):
    out = out.numpy() if isinstance(out, torch.Tensor) else np.asarray(out)
    assert out.dtype.name in TYPES, (op, out.dtype)
    given = f"IN({', '.join(value(i) for i in ins)})" if ins else "NONE"
    listed = ", ".join(attribute(k, v) for k, v in attrs.items())
    text = f"{{OP_{op}, {given}, {f'ATTRS({listed})' if attrs else 'NONE'}, {value(out)}}},"
    rows.append("\n".join(textwrap.wrap(text, 100, subsequent_indent="  ",
                                        break_long_words=False, break_on_hyphens=False)))


def real(*shape):
    return np.round(rng.normal(size=shape), 3)


def ints(*shape, lo=-9, hi=10, dtype=np.int64):
    return rng.integers(lo, hi, size=shape).astype(dtype)


def t(a):
    return torch.from_numpy(np.asarray(a))


# ---- sources
x = real(2, 3)
case("input", [x], x)
case("const", [x], x)
c8 = ints(3, dtype=np.int8)
case("const", [c8], c8)
case("dims", [], np.array([4, 0, 7]), dims=[4, 0, 7])
case("iota", [], np.arange(5), dims=[5])
case("iota", [], np.arange(0), dims=[0])

# ---- elementwise, one operand
special = np.array([0.0, -0.0, 1.5, -2.5, 0.5, -0.5, inf, -inf, nan, 1e-300])
v = np.concatenate([special, real(4)])
torch_erf = lambda a: torch.special.erf(t(a))
with np.errstate(all="ignore"):
    case("neg", [v], -v)
    case("abs", [v], np.abs(v))
    case("exp", [v], np.exp(v))
    case("log", [v], np.log(v))
    case("sqrt", [v], np.sqrt(v))
    case("recip", [v], 1 / v)
    case("erf", [v], torch_erf(v))
    case("tanh", [v], np.tanh(v))
    case("sigmoid", [v], torch.sigmoid(t(v)))
    case("relu", [v], torch.relu(t(v)))
    case("sign", [v[:8]], np.sign(v[:8]))
    case("sign", [np.array(nan)], np.array(0.0))
    case("floor", [v], np.floor(v))
    case("ceil", [v], np.ceil(v))
    case("round", [v], np.round(v))
    case("isnan", [v], np.isnan(v))
b = np.array([True, False, True])
case("not", [b], ~b)
n = np.array([-3, 0, 7])
for op, f in [("neg", np.negative), ("abs", np.abs), ("sign", np.sign), ("floor", lambda a: a),
              ("ceil", lambda a: a), ("round", lambda a: a), ("relu", lambda a: np.maximum(a, 0))]:
    case(op, [n], f(n))
case("neg", [np.array([-128, 5], np.int8)], np.array([-128, -5], np.int8))
case("exp", [real(0, 3)], np.zeros((0, 3)))

# ---- elementwise, two operands
p, q = real(2, 1, 3), real(4, 1)
s, u = np.array([1.0, nan, 2.0, inf, -3.5, 5.5]), np.array([nan, 1.0, 2.0, 3.0, 2.0, -2.0])
for op, f in [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div", np.divide),
              ("min", np.minimum), ("max", np.maximum), ("eq", np.equal), ("lt", np.less),
              ("le", np.less_equal), ("mod", np.mod), ("fmod", np.fmod), ("pow", np.power)]:
    with np.errstate(all="ignore"):
        base = np.abs(p) if op == "pow" else p
        case(op, [base, q], f(base, q))
        case(op, [s, u], f(s, u))
i, j = np.array([7, -7, 7, -7, 0, 5]), np.array([2, 2, -2, -2, 3, 5])
case("add", [i, j], i + j)
case("sub", [i, np.array(3)], i - 3)
case("mul", [i, j], i * j)
case("div", [i, j], np.array([3, -3, -3, 3, 0, 1]))
case("mod", [i, j], np.mod(i, j))
case("fmod", [i, j], np.fmod(i, j))
case("div", [n, np.array(0)], np.array([0, 0, 0]))
case("mod", [n, np.array(0)], np.array([0, 0, 0]))
case("fmod", [n, np.array(0)], np.array([0, 0, 0]))
case("pow", [np.array([2, -2, 3, 1, -1, 0, 2]), np.array([10, 3, 0, -5, -3, 2, -1])],
     np.array([1024, -8, 1, 1, -1, 0, 0]))
case("min", [i, j], np.minimum(i, j))
case("max", [i, j], np.maximum(i, j))
case("eq", [i, j], i == j)
case("lt", [i, j], i < j)
case("le", [i, j], i <= j)
case("add", [np.array([250, 3], np.uint8), np.array([10, 4], np.uint8)], np.array([4, 7], np.uint8))
case("mul", [np.array([100, -3], np.int8), np.array([3, 4], np.int8)], np.array([44, -12], np.int8))
case("eq", [b, np.array(True)], b)
b2 = np.array([[True], [False]])
case("and", [b, b2], b & b2)
case("or", [b, b2], b | b2)
w1, w2 = real(2, 1), real(3)
case("where", [b, w1, w2], np.where(b, w1, w2))
case("where", [np.array(False), n, i[:3]], i[:3])
c = np.array([1.9, -1.9, 0.0, 300.7, -300.7, 1e30, -1e30, inf, -inf, nan])
top = 2**31 - 1
case("cast", [c], np.array([1, -1, 0, 300, -300, top, -top - 1, top, -top - 1, 0], np.int32),
     dtype=6)
case("cast", [c], np.array([1, 0, 0, 255, 0, 255, 0, 255, 0, 0], np.uint8), dtype=8)
case("cast", [c], np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 1], bool), dtype=9)
case("cast", [np.array([300, -1, 128])], np.array([44, -1, -128], np.int8), dtype=7)
case("cast", [np.array([3, 0, -2])], np.array([True, False, True]), dtype=9)
case("cast", [np.array([3, 0, -2])], np.array([3.0, 0, -2], np.float32), dtype=1)
case("cast", [b], np.array([1, 0, 1]), dtype=5)

# ---- over axes
r, z = real(2, 3, 4), ints(2, 3, 2)
special_r = np.array([[1.0, nan, 3.0], [-inf, 2.0, -inf], [inf, -inf, 1.0]])
for op, f in [("sum", np.sum), ("mean", np.mean), ("max", np.max), ("min", np.min),
              ("prod", np.prod)]:
    for axes, keep in [([0], 0), ([1, 2], 1), ([0, 1, 2], 0), ([], 0)]:
        case("reduce_" + op, [r], f(r, axis=tuple(axes), keepdims=bool(keep)) if axes else r,
             axes=axes, keepdims=keep)
    case("reduce_" + op, [r], f(r, axis=(1, 2)), axes=[-1, -2])
    if op != "mean":
        case("reduce_" + op, [z], f(z, axis=1), axes=[1])
    with np.errstate(all="ignore"):
        case("reduce_" + op, [special_r], f(special_r, axis=1), axes=[1])
case("reduce_mean", [np.array([[7, 8], [-7, -8]])], np.array([7, -7]), axes=[1])
case("reduce_sum", [np.zeros((0, 2))], np.zeros(2), axes=[0])
case("reduce_prod", [np.zeros((0, 2))], np.ones(2), axes=[0])
case("reduce_max", [np.zeros((0, 2))], np.array([-inf, -inf]), axes=[0])
case("reduce_min", [np.zeros((0, 2))], np.array([inf, inf]), axes=[0])
case("reduce_mean", [np.zeros((0, 2))], np.array([nan, nan]), axes=[0])
case("reduce_max", [b], np.array(True), axes=[0])
m = np.array([[3.0, 1.0, 3.0], [nan, 5.0, nan], [0.0, 0.0, 0.0]])
case("argmax", [m], np.array([0, 0, 0]), axis=1)
case("argmax", [m], np.array([2, 2, 2]), axis=1, last=1)
case("argmax", [r], np.argmax(r, axis=0)[None], axis=0, keepdims=1)
case("argmax", [r], np.argmax(r, axis=-1), axis=-1)
case("argmax", [z], np.argmax(z, axis=1), axis=1)
case("cumsum", [r], np.cumsum(r, axis=1), axis=1)
case("cumsum", [z], np.cumsum(z, axis=0), axis=-3)
k = real(5)
case("cumsum", [k], np.cumsum(k) - k, axis=0, exclusive=1)
case("cumsum", [k], np.cumsum(k[::-1])[::-1], axis=0, reverse=1)
case("cumsum", [k], (np.cumsum(k[::-1]) - k[::-1])[::-1], axis=0, exclusive=1, reverse=1)

# ---- moves
case("permute", [r], r.transpose(2, 0, 1), perm=[2, 0, 1])
case("permute", [z], z.transpose(1, 2, 0), perm=[1, 2, 0])
case("permute", [np.array(2.5)], np.array(2.5), perm=[])
case("reshape", [r], r.reshape(6, 4), dims=[6, 4])
case("reshape", [np.array([2.5])], np.array(2.5), dims=[])
case("reshape", [np.zeros((0, 3))], np.zeros((5, 0)), dims=[5, 0])
case("broadcast", [w1], np.broadcast_to(w1, (3, 2, 4)), dims=[3, 2, 4])
case("broadcast", [np.array(7)], np.full((2, 2), 7), dims=[2, 2])
case("broadcast", [w1], np.zeros((2, 0)), dims=[2, 0])
case("slice", [r], r[1:2, 0:3:2, 3:0:-1], starts=[1, 0, 3], steps=[1, 2, -1], dims=[1, 2, 3])
case("slice", [z], z[:, 1:, :], starts=[0, 1, 0], dims=[2, 2, 2])
case("slice", [k], k[5:5], starts=[5], steps=[1], dims=[0])
r1 = real(2, 1, 4)
case("concat", [r, r1, r[:, :0]], np.concatenate([r, r1], 1), axis=1)
case("concat", [n], n, axis=0)
case("concat", [n, n + 1], np.concatenate([n, n + 1]), axis=-1)
case("pad", [x, np.array(9.5)], np.pad(x, ((1, 0), (0, 2)), constant_values=9.5), before=[1, 0],
     after=[0, 2])
case("pad", [n, np.array(-1)], np.pad(n, ((0, 1),), constant_values=-1), before=[0], after=[1])

# ---- contractions
for sa, sb in [((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)),
               ((2, 1, 2, 3), (4, 3, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 0), (0, 3))]:
    a, d = real(*sa), real(*sb)
    case("matmul", [a, d], np.matmul(a, d))
a, d = ints(2, 3), ints(3, 2)
case("matmul", [a, d], a @ d)


def conv(xs, ws, bias, strides, pads, dilations, group):
    rank = len(strides)
    cx, cw = real(*xs), real(*ws)
    cb = real(ws[0]) if bias else None
    flat = [p for i in reversed(range(rank)) for p in (pads[i], pads[rank + i])]
    f = [F.conv1d, F.conv2d, F.conv3d][rank - 1]
    y = f(F.pad(t(cx), flat), t(cw), t(cb) if bias else None, strides, 0, dilations, group)
    case("conv", [cx, cw] + ([cb] if bias else []), y, strides=strides, pads=pads,
         dilations=dilations, group=group)


conv((1, 2, 4, 5), (3, 2, 2, 3), True, [1, 1], [0, 0, 0, 0], [1, 1], 1)
conv((2, 4, 5, 4), (2, 2, 3, 2), False, [2, 1], [1, 0, 2, 1], [1, 2], 2)
conv((1, 3, 4, 4), (2, 3, 2, 2), False, [2, 2], [0, 0, 0, 0], [1, 1], 1)
conv((1, 2, 6), (2, 1, 2), True, [3], [1, 1], [2], 2)
conv((1, 1, 2, 3, 2), (1, 1, 2, 2, 1), False, [1, 1, 1], [0] * 6, [1, 1, 1], 1)

# ---- by index
case("gather", [r, np.array([[2, -1], [0, -3]])], np.take(r, [[2, 2], [0, 0]], axis=1), axis=1)
case("gather", [n, np.array(1)], n[1], axis=0)
case("gather", [x, np.array([1], np.int32)], x[:, [1]], axis=-1)
case("gather", [x, np.zeros(0, np.int64)], x[[]], axis=0)
e = np.array([[1, 0, -1], [0, 0, 1]])
case("gather_elements", [x, e[:, :2]], np.take_along_axis(x, e[:, :2] % 3, 1), axis=1)
case("gather_elements", [x, e[:, :]], np.take_along_axis(x, e % 2, 0), axis=0)
case("gather_nd", [r, np.array([[0, 2], [-1, 1]])], np.stack([r[0, 2], r[1, 1]]))
case("gather_nd", [r, np.array([1, 0, -1])], r[1, 0, 3])
case("gather_nd", [r, np.array([[2], [0]])], np.stack([r[0, 2], r[1, 0]]), batch_dims=1)
case("gather_nd", [r, np.array([[[2], [1]], [[0], [0]]])], np.stack([r[0, [2, 1]], r[1, [0, 0]]]),
     batch_dims=1)
case("gather_nd", [x, np.zeros((2, 0), np.int64)], np.stack([x, x]))
sc, up = x.copy(), real(2, 3)
sc[1], sc[0] = up[0], up[1]
case("scatter_nd", [x, np.array([[1], [-2]]), up], sc)
sc = n.copy()
sc[2] = 5
case("scatter_nd", [n, np.array([[2], [2]]), np.array([4, 5])], sc)
g = np.array([[1.0, 3.0, nan, 3.0], [0.0, -1.0, -1.0, 2.0]])
case("topk_values", [g], np.array([[nan, 3, 3], [2, 0, -1]]), axis=1, k=3, largest=1)
case("topk_indices", [g], np.array([[2, 1, 3], [3, 0, 1]]), axis=1, k=3, largest=1)
case("topk_values", [g], np.array([[1.0, 3], [-1, -1]]), axis=-1, k=2, largest=0)
case("topk_indices", [g], np.array([[0, 1], [1, 2]]), axis=-1, k=2, largest=0)
tv, ti = torch.topk(t(r), 2, 0)
case("topk_values", [r], tv, axis=0, k=2)
case("topk_indices", [r], ti, axis=0, k=2)
case("topk_values", [np.array([3, 9, 9])], np.array([9]), axis=0, k=1)
case("topk_indices", [np.array([3, 9, 9])], np.array([1]), axis=0, k=1)
case("topk_values", [np.array([3, 9, 9])], np.zeros(0, np.int64), axis=0, k=0)

# ---- semantic ops
for op, f in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
    case(op, [r], f(t(r), 2), axis=2)
    case(op, [r], f(t(r), 0), axis=-3)
    half = np.array([[-inf, 1.0, 2.0], [-inf, -inf, -inf], [800.0, -800.0, 0.0]])
    case(op, [half], f(t(half), 1), axis=1)
gamma, beta = real(4), real(4)
case("layernorm", [r], F.layer_norm(t(r), (4,), eps=1e-5), eps=1e-5)
case("layernorm", [r, gamma], F.layer_norm(t(r), (4,), t(gamma), eps=0.1), eps=0.1)
case("layernorm", [r, gamma, beta], F.layer_norm(t(r), (4,), t(gamma), t(beta)), eps=1e-5)
case("layernorm", [r, None, beta], F.layer_norm(t(r), (4,)) + t(beta), eps=1e-5)
l2 = np.concatenate([real(2, 3), np.zeros((1, 3)), np.full((1, 3), 1e-9)])
case("l2norm", [l2], F.normalize(t(l2), dim=-1, eps=1e-6), eps=1e-6)
gv = np.array([-6.0, -1.0, -0.1, 0.0, 0.3, 2.0, 40.0, -40.0])
case("gelu", [gv], F.gelu(t(gv)), approx="erf")
case("gelu", [gv], F.gelu(t(gv), approximate="tanh"), approx="tanh")
case("gelu", [gv], t(gv) * torch.sigmoid(1.702 * t(gv)), approx="quick")
lw, lb = real(4, 3), real(3)
case("linear", [r, lw, lb], F.linear(t(r), t(lw.T.copy()), t(lb)))
case("linear", [k[:4], lw], k[:4] @ lw)
case("embedding", [lw, np.array([[3, 0], [-1, 1]])], lw[[[3, 0], [3, 1]]])
im, pw, pb = real(2, 3, 4, 6), real(3 * 2 * 3, 5), real(5)
kernel = t(pw.T.reshape(5, 3, 2, 3).copy())
want = F.conv2d(t(im), kernel, t(pb), stride=(2, 3)).flatten(2).transpose(1, 2).contiguous()
case("patch_embed", [im, pw, pb], want, patch=[2, 3])
case("patch_embed", [im, pw], want - t(pb), patch=[2, 3])


def attention(lq, lk, heads, d, dv, mask=None, causal=False, batch=(2,)):
    aq, ak = real(*batch, lq, heads * d), real(*batch, lk, heads * d)
    av = real(*batch, lk, heads * dv)
    scale = 0.37
    split = lambda a: t(a).reshape(*a.shape[:-1], heads, -1).transpose(-2, -3)
    sees = t(mask) if mask is not None else torch.zeros(lq, lk, dtype=torch.float64)
    if causal:
        sees = sees + torch.full((lq, lk), -inf, dtype=torch.float64).triu(1)
    y = F.scaled_dot_product_attention(split(aq), split(ak), split(av), sees, scale=scale)
    y = torch.nan_to_num(y, nan=0.0).transpose(-2, -3).reshape(*batch, lq, heads * dv).contiguous()
    case("attention", [aq, ak, av] + ([mask] if mask is not None else []), y, heads=heads,
         scale=scale, causal=int(causal))


attention(3, 4, 2, 3, 2)
attention(3, 3, 1, 2, 2, causal=True)
attention(4, 2, 2, 2, 1, causal=True, batch=())
attention(2, 3, 2, 2, 2, mask=np.array([[0.0, -inf, 0.5], [-inf, -inf, -inf]]))
attention(2, 2, 2, 1, 2, mask=real(2, 1, 2, 2), causal=True)
attention(1, 2, 1, 2, 2, mask=real(2), batch=(2, 2))


def attention_varlen(bounds, heads, d, dv):
    n, scale = bounds[-1], 0.37
    q, k, v = real(n, heads * d), real(n, heads * d), real(n, heads * dv)
    run = np.searchsorted(np.array(bounds), np.arange(n), side="right") - 1
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    sees = (j <= i) & ((run[None, :] == run[:, None]) | (run[None, :] == 0))
    split = lambda a: t(a).reshape(n, heads, -1).transpose(0, 1)
    y = F.scaled_dot_product_attention(split(q), split(k), split(v), torch.from_numpy(sees),
                                       scale=scale)
    case("attention_varlen", [q, k, v, np.array(bounds)], y.transpose(0, 1).reshape(n, -1).contiguous(),
         heads=heads, scale=scale)


attention_varlen([0, 2, 3, 3, 6], 2, 2, 1)
attention_varlen([0, 0, 2, 4], 1, 2, 3)


def attention_segments(lq, rows, heads, d, dv, batches, causal=False, mask=None):
    """Keys in segments of rows[i] rows, operands with batches[i] or 1 batch entries."""
    aq, scale, batch = real(batches[0], lq, heads * d), 0.37, max(batches)
    pairs = [(real(b, n, heads * d), real(b, n, heads * dv)) for n, b in zip(rows, batches[1:])]
    whole = lambda parts: np.concatenate([np.broadcast_to(p, (batch, *p.shape[1:])) for p in parts], 1)
    split = lambda a: t(np.ascontiguousarray(a)).reshape(*a.shape[:-1], heads, -1).transpose(-2, -3)
    sees = t(mask) if mask is not None else torch.zeros(lq, sum(rows), dtype=torch.float64)
    if causal:
        sees = sees + torch.full((lq, sum(rows)), -inf, dtype=torch.float64).triu(1)
    y = F.scaled_dot_product_attention(split(np.broadcast_to(aq, (batch, *aq.shape[1:]))),
                                       split(whole([p[0] for p in pairs])),
                                       split(whole([p[1] for p in pairs])), sees, scale=scale)
    y = y.transpose(-2, -3).reshape(batch, lq, heads * dv).contiguous()
    case("attention", [aq] + [x for p in pairs for x in p] + ([mask] if mask is not None else []), y,
         heads=heads, scale=scale, causal=int(causal))


attention_segments(2, [2, 1], 2, 2, 1, [2, 2, 1])
attention_segments(1, [1, 2], 1, 2, 2, [1, 2, 1])
attention_segments(3, [1, 1, 1, 2], 1, 2, 1, [2, 1, 2, 1, 2], causal=True)
attention_segments(2, [2, 1], 1, 1, 2, [2, 2, 1], mask=real(2, 3))

# ---- parts of gradients: by PyTorch's autograd
def grads(f, *xs):
    """f's value, a random dy, and the gradients of all xs."""
    xs = [t(x).clone().requires_grad_() for x in xs]
    y = f(*xs)
    dy = real(*y.shape)
    gs = torch.autograd.grad(y, xs, t(dy), allow_unused=True)
    return y.detach().numpy(), dy, [g.numpy() for g in gs]


case("stop", [v], v)
case("again", [v], v)
case("scatter_add", [real(0, 2), np.zeros((0, 1), np.int64), real(0, 2)], np.zeros((0, 2)))
data, ids, up = real(3, 2), np.array([[2], [0], [-1], [2]]), real(4, 2)
case("scatter_add", [data, ids, up], t(data).index_add(0, torch.tensor([2, 0, 2, 2]), t(up)))
data, ids = ints(2, 3), np.array([[[1, 2], [0, -1]], [[1, 2], [-1, 2]]])
case("scatter_add", [data, ids, np.array([[1, 2], [3, 4]])],
     data + np.array([[0, 0, 2], [0, 0, 8]]))
x = real(2, 3, 4)
for axis in (0, 1, 2):
    y, dy, (dx,) = grads(lambda a: F.softmax(a, axis), x)
    case("softmax_grad", [dy, y], dx, axis=axis)
    y, dy, (dx,) = grads(lambda a: F.log_softmax(a, axis), x)
    case("log_softmax_grad", [dy, y], dx, axis=axis)
x, gamma = real(2, 5), real(5)
_, dy, (dx,) = grads(lambda a: F.layer_norm(a, (5,), eps=1e-5), x)
case("layernorm_grad", [dy, x], dx, eps=1e-5)
_, dy, (dx, _) = grads(lambda a, b: F.layer_norm(a, (5,), b, eps=1e-2), x, gamma)
case("layernorm_grad", [dy, x, gamma], dx, eps=1e-2)
case("layernorm_grad", [real(0, 5), real(0, 5)], np.zeros((0, 5)), eps=1e-2)
for eps in (1e-12, 4.0):
    _, dy, (dx,) = grads(lambda a: F.normalize(a, dim=-1, eps=eps), x)
    case("l2norm_grad", [dy, x], dx, eps=eps)
x = np.concatenate([real(5) * 3, np.array([0.0, -0.0, 9.0, -9.0])])
for kind, f in [("erf", F.gelu), ("tanh", lambda a: F.gelu(a, approximate="tanh")),
                ("quick", lambda a: a * torch.sigmoid(1.702 * a))]:
    _, dy, (dx,) = grads(f, x)
    case("gelu_grad", [dy, x], dx, approx=kind)


def attention_parts(op, rows, extra, sees, heads, **attrs):
    """Cases of lse and of each float operand's gradient.  rows: q, then k and v of each segment;
    extra: a mask, or the bounds; sees is added to the scores."""
    def split(a):
        return a.reshape(*a.shape[:-1], heads, -1).transpose(-2, -3)

    def join(parts):
        lead = torch.broadcast_shapes(*(p.shape[:-2] for p in rows))
        return torch.cat([p.expand(*lead, *p.shape[-2:]) for p in parts], -2)

    def scores(q, ks, m):
        return split(q) @ split(join(ks)).transpose(-1, -2) * attrs["scale"] + m + sees

    def attend(q, *rest):
        *pairs, m = rest
        p = torch.nan_to_num(torch.softmax(scores(q, pairs[0::2], m), -1), nan=0.0)
        y = (p @ split(join(pairs[1::2]))).transpose(-2, -3)
        return y.reshape(*y.shape[:-2], -1)

    masked = extra is not None and extra.dtype == np.float64
    mask, given = extra if masked else np.zeros(1), rows + ([] if extra is None else [extra])
    rows = [t(r) for r in rows]
    lse = torch.logsumexp(scores(rows[0], rows[1::2], t(mask)), -1)
    lse = torch.where(torch.isinf(lse), inf, lse)
    case(op + "_lse", given, lse, heads=heads, **attrs)
    y, dy, gs = grads(attend, *rows, mask)
    for i in range(len(rows) + masked):
        case(op + "_grad", [dy, y, lse.numpy()] + given, torch.nan_to_num(t(gs[i]), nan=0.0),
             heads=heads, operand=i, **attrs)


def attention_grads(lq, keys, heads, d, dv, batches, causal=False, mask=None):
    """keys[i] rows in segment i; batch entries of q and of each segment."""
    rows = [real(*batches[0], lq, heads * d)]
    for n, b in zip(keys, batches[1:]):
        rows += [real(*b, n, heads * d), real(*b, n, heads * dv)]
    sees = torch.zeros(lq, sum(keys), dtype=torch.float64)
    if causal:
        sees = sees + torch.full((lq, sum(keys)), -inf, dtype=torch.float64).triu(1)
    attention_parts("attention", rows, mask, sees, heads, scale=0.37, causal=int(causal))


attention_grads(3, [2], 2, 2, 1, [(2,), (2,)])
attention_grads(3, [3], 1, 2, 2, [(), ()], causal=True)
attention_grads(2, [3], 2, 1, 2, [(2,), (2,)], mask=real(2, 1, 2, 3))
attention_grads(2, [1, 2], 2, 1, 1, [(2,), (1,), (2,)], causal=True)
attention_grads(2, [2, 1], 1, 2, 1, [(1,), (2,), (1,)], mask=real(2, 3))


def varlen_grads(bounds, heads, d, dv):
    n = bounds[-1]
    rows = [real(n, heads * d), real(n, heads * d), real(n, heads * dv)]
    run = np.searchsorted(np.array(bounds), np.arange(n), side="right") - 1
    i, j = np.arange(n)[:, None], np.arange(n)[None, :]
    sees = (j <= i) & ((run[None, :] == run[:, None]) | (run[None, :] == 0))
    attention_parts("attention_varlen", rows, np.array(bounds), t(np.where(sees, 0, -inf)), heads,
                    scale=0.37)


varlen_grads([0, 2, 2, 5], 2, 1, 2)

with open("op_cases.inc", "w") as f:
    f.write("/* SPDX-License-Identifier: Apache-2.0 */\n"
            "/* op_cases.inc - cases of every op with results by numpy and PyTorch in double\n"
            "** precision; written by op_cases.py. */\n" + "\n".join(rows) + "\n")
