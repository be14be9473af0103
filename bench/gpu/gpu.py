"""Correctness and speed of one OpenCL device; see run.

Order: devices, model, features beside the processor's (or saved ones), start cold
and warm, each entry with its kernels, the vendor's BLAS.  Anything that fails is
printed and the rest goes on."""
import argparse
import json
import os
import subprocess
import sys
import time

RUNS = [("image", 1), ("image", 16), ("image", 64), ("text", 64)]


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
        self.artifact = os.path.join(self.folder, o.size + ".vlpc")
        os.makedirs(self.folder, mode=0o700, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def vlpc(self, *args, timeout=180):
        return call([self.o.vlpc, *args], timeout=timeout)

    def on_device(self, *args):
        return self.vlpc(*args, "--device", self.o.device, "--cache-dir", self.path("cache"))

    # ---- steps ----

    def model(self):
        if os.path.exists(self.artifact):
            return
        out, err, ok = self.vlpc("model", "clip", "--size", self.o.size, "-o", self.path("onnx"), "-q")
        if ok:
            out, err, ok = self.vlpc("compile", self.path("onnx/model.onnx"), "-o", self.artifact, "-q")
        if not ok:
            sys.exit("the model could not be made:\n" + err)

    def check(self):
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
            _, err, ok = self.vlpc("run", self.artifact, "--entry", entry, "--inputs", images, "-o", want, "-q")
            if not ok and self.o.expect:
                want, ok = os.path.join(self.o.expect, f"want_{entry}.npz"), True
            if not ok:
                say(f"features of {entry}: nothing to compare with:", err.strip().splitlines()[0])
                continue
            out, err, _ = self.on_device("compare", self.artifact, "--inputs", images, "--expect", want,
                                          "--atol", "1e-3", "--min-cosine", "0.99999")
            say(f"features of {entry}:", (out or err).strip())

    def bench(self, entry, batch, seconds=2):
        out, err, ok = self.on_device("bench", self.artifact, "--tower", entry, "--batch", batch, "--seconds",
                                      seconds, "--per-kernel", "--json", "-q")
        if not ok:
            say(f"{entry}, batch {batch}:", err.strip())
            return None
        r = json.loads(out)
        with open(self.path(f"{entry}_{batch}.json"), "w") as f:
            f.write(out)
        return r

    def start(self):
        for what in ("cold", "warm"):
            r = self.bench("image", 1, 0.1)
            if r:
                say(f"{what} start: load {r['load_ms']:.0f} ms, first run {r['first_ms']:.1f} ms")

    def speed(self):
        rows, gemms = [], {}
        for entry, batch in RUNS[:1] if self.o.quick else RUNS:
            r = self.bench(entry, batch)
            if not r:
                continue
            rows.append(f"| {entry} | {batch} | {r['best_ms']:.2f} | {r['median_ms']:.2f} | "
                        f"{1000 * batch / r['best_ms']:.0f} | {r['gflops']:.0f} |")
            say(f"\n{entry}, batch {batch}: kernels by the device's clock")
            for k in r["kernels"][:12]:
                say(f"  {k['ms']:9.3f} ms {k['steps']:4d} steps {k['gflops'] or 0:9.1f} GFLOP/s  {k['kernel']}")
            if (entry, batch) == ("image", 64):
                gemms = {k["kernel"]: k for k in r["kernels"] if k["kernel"].startswith("gemm m=?")}
        say("\n| entry | batch | best ms | median ms | rows/s | GFLOP/s |\n|---|--:|--:|--:|--:|--:|")
        say("\n".join(rows))
        return gemms

    def vendor(self, gemms):
        try:
            import torch
        except ImportError:
            say("\nvendor's BLAS: there is no PyTorch")
            return
        if not torch.cuda.is_available():
            say("\nvendor's BLAS: PyTorch has no CUDA here")
            return
        torch.backends.cuda.matmul.allow_tf32 = False
        say("\n| GEMM, m = 12608, fp32 | vendor GFLOP/s | vlpc GFLOP/s | share |\n|---|--:|--:|--:|")
        for k, n in ((768, 2304), (768, 768), (768, 3072), (3072, 768)):
            mine = [v for t, v in gemms.items() if f" k={k} n={n} " in t + " "]
            mine = [v["gflops"] for v in sorted(mine, key=lambda v: -v["ms"])]
            theirs = vendor_gflops(torch, 12608, k, n)
            ours = mine[0] if mine else 0
            say(f"| k = {k}, n = {n} | {theirs:.0f} | {ours:.0f} | {ours / theirs:.0%} |")


def vendor_gflops(torch, m, k, n):
    a, w = torch.randn(m, k, device="cuda"), torch.randn(k, n, device="cuda")
    c, best = torch.empty(m, n, device="cuda"), 1e9
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
    p.add_argument("--quick", action="store_true", help="batch 1 alone")
    p.add_argument("--expect", help="a folder with want_image.npz and want_text.npz")
    b = Bench(p.parse_args())
    start = time.time()
    say(*b.vlpc("devices")[:2])
    b.model()
    say(f"model ready after {time.time() - start:.0f} s")
    b.start()
    b.check()
    b.vendor(b.speed())
    say(f"\nall in {time.time() - start:.0f} s")


main()
