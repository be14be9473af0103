"""Correctness and speed of one OpenCL device; see run.

Order: devices, models, then in fp32 and in bf16: start cold and warm, features beside the
processor's (or saved ones), each entry with its kernels, the vendor's BLAS, a step of
training.  Anything that fails is printed and the rest goes on."""
import argparse
import json
import os
import subprocess
import sys
import time

RUNS = [("image", 1), ("image", 16), ("image", 64), ("text", 64)]
SHAPES = [(768, 2304), (768, 768), (768, 3072), (3072, 768)]
TRAIN = ["--train", "maple", "--classes", 100, "--batch", 4]


def call(args, **kw):
    """Output and error text of a command, and whether it went well."""
    p = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    return p.stdout, p.stderr, p.returncode == 0


def say(*words):
    print(*words, flush=True)


class Bench:
    def __init__(self, o):
        self.o = o
        self.folder = os.path.abspath(o.folder)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def artifact(self, precision, train=False):
        return self.path(f"{self.o.size}-{'train-' if train else ''}{precision}.vlpc")

    def vlpc(self, *args, timeout=180):
        return call([self.o.vlpc, *args], timeout=timeout)

    def must(self, *args):
        _, err, ok = self.vlpc(*args, "-q")
        if not ok:
            sys.exit("the model could not be made:\n" + err)

    def on_device(self, *args):
        return self.vlpc(*args, "--device", self.o.device, "--cache-dir", self.path("cache"))

    # ---- steps ----

    def models(self):
        if os.path.exists(self.artifact("bf16", True)):
            return
        onnx = self.path("onnx/model.onnx")
        self.must("model", "clip", "--size", self.o.size, "-o", self.path("onnx"))
        self.must("prompt", "maple", "--size", self.o.size, "-o", self.path("maple.onnx"))
        for precision in ("fp32", "bf16"):
            how = ["--precision", precision, "--calibrate", "none", "-o"]
            self.must("compile", onnx, *how, self.artifact(precision))
            self.must("compile", onnx, "--prompt", self.path("maple.onnx"), "--train", *how,
                      self.artifact(precision, True))

    def check(self, precision):
        try:
            import numpy as np
        except ImportError:
            say("features: not checked, there is no numpy")
            return
        images, ids = self.path("in.npz"), np.ones((4, 77), np.int64)
        rng = np.random.default_rng(1)
        ids[:, 1:9] = rng.integers(1, 400, (4, 8))
        ids[:, 9] = 49407
        np.savez(images, image=rng.standard_normal((4, 3, 224, 224), dtype=np.float32), text=ids)
        for entry in ("image", "text"):
            want = self.path(f"want_{entry}.npz")
            _, err, ok = self.vlpc("run", self.artifact(precision), "--entry", entry, "--inputs", images,
                                   "-o", want, "-q")
            if not ok and self.o.expect:
                want, ok = os.path.join(self.o.expect, precision, f"want_{entry}.npz"), True
            if not ok:
                say(f"features of {entry}: nothing to compare with:", (err.strip() or "no text").splitlines()[0])
                continue
            out, err, _ = self.on_device("compare", self.artifact(precision), "--inputs", images, "--expect", want,
                                          "--atol", "1e-3", "--min-cosine", "0.99999")
            say(f"{precision} features of {entry}:", (out or err).strip())

    def bench(self, artifact, name, *args, seconds=1):
        out, err, ok = self.on_device("bench", artifact, *args, "--seconds", seconds, "--per-kernel", "--json", "-q")
        if not ok:
            say(f"{name}:", err.strip())
            return None
        with open(self.path(name.replace(" ", "_") + ".json"), "w") as f:
            f.write(out)
        return json.loads(out)

    def start(self, precision):
        for what in ("cold", "warm"):
            r = self.bench(self.artifact(precision), "start", "--tower", "image", "--batch", 1, seconds=0.1)
            if r:
                say(f"{precision}, {what} start: load {r['load_ms']:.0f} ms, first run {r['first_ms']:.1f} ms")

    def kernels(self, name, r, most):
        say(f"\n{name}: kernels by the device's clock")
        for k in r["kernels"][:most]:
            say(f"  {k['ms']:9.3f} ms {k['steps']:4d} steps {k['gflops'] or 0:9.1f} GFLOP/s  {k['kernel']}")

    def speed(self, precision):
        rows, gemms = [], {}
        for entry, batch in RUNS[:1] if self.o.quick else RUNS:
            name = f"{precision} {entry} {batch}"
            r = self.bench(self.artifact(precision), name, "--tower", entry, "--batch", batch)
            if not r:
                continue
            rows.append(f"| {precision} | {entry} | {batch} | {r['best_ms']:.2f} | {r['median_ms']:.2f} | "
                        f"{1000 * batch / r['best_ms']:.0f} | {r['gflops']:.0f} |")
            self.kernels(name, r, 10)
            if (entry, batch) == ("image", 64):
                gemms = {k["kernel"]: k for k in r["kernels"] if k["kernel"].startswith("gemm")}
        return rows, gemms

    def train(self, precision):
        r = self.bench(self.artifact(precision, True), f"{precision} train", *TRAIN)
        if not r:
            return []
        self.kernels(f"{precision} step of MaPLe", r, 12)
        return [f"| {precision} | step of MaPLe, 100 classes | 4 | {r['best_ms']:.2f} | {r['median_ms']:.2f} | "
                f"first {r['first_ms'] / 1000:.1f} s | {r['gflops']:.0f} |"]

    def vendor(self, precision, gemms):
        try:
            import torch
        except ImportError:
            say("\nvendor's BLAS: there is no PyTorch")
            return
        if not torch.cuda.is_available():
            say("\nvendor's BLAS: PyTorch has no CUDA here")
            return
        torch.backends.cuda.matmul.allow_tf32 = False
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        say(f"\n| GEMM, m = 12608, {precision} | vendor GFLOP/s | vlpc GFLOP/s | share |\n|---|--:|--:|--:|")
        for k, n in SHAPES:
            mine = [v for t, v in gemms.items() if f" m=? k={k} n={n} " in t + " "]
            mine = [v["gflops"] for v in sorted(mine, key=lambda v: -v["ms"])]
            theirs = vendor_gflops(torch, 12608, k, n, dtype)
            ours = mine[0] if mine else 0
            say(f"| k = {k}, n = {n} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.0%} |")


def vendor_gflops(torch, m, k, n, dtype):
    a, w = torch.randn(m, k, device="cuda", dtype=dtype), torch.randn(k, n, device="cuda", dtype=dtype)
    c, best = torch.empty(m, n, device="cuda", dtype=dtype), 1e9
    for _ in range(12):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        torch.mm(a, w, out=c)
        end.record()
        torch.cuda.synchronize()
        best = min(best, start.elapsed_time(end))
    return 2e-6 * m * k * n / best


def main():
    p = argparse.ArgumentParser()
    p.add_argument("vlpc")
    p.add_argument("folder", nargs="?", default="build/gpu")
    p.add_argument("--device", default="opencl")
    p.add_argument("--size", default="b16")
    p.add_argument("--precision", default="fp32,bf16")
    p.add_argument("--quick", action="store_true", help="batch 1 alone")
    p.add_argument("--expect", help="a folder with fp32/ and bf16/, want_image.npz and want_text.npz in each")
    b = Bench(p.parse_args())
    start = time.time()
    say(*b.vlpc("devices")[:2])
    b.models()
    say(f"models ready after {time.time() - start:.0f} s")
    rows = []
    for precision in b.o.precision.split(","):
        b.start(precision)
        b.check(precision)
        made, gemms = b.speed(precision)
        b.vendor(precision, gemms)
        rows += made + ([] if b.o.quick else b.train(precision))
    say("\n| precision | entry | batch | best ms | median ms | rows/s | GFLOP/s |\n|---|---|--:|--:|--:|--:|--:|")
    say("\n".join(rows))
    say(f"\nall in {time.time() - start:.0f} s")


main()
