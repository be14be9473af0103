# SPDX-License-Identifier: Apache-2.0
"""Times vlpc and its peers on the same ONNX files, in one run and one precision.

For each shape every contender gets its turn in every round, one after the other
(A B C A B C …), each in a process of its own that sleeps while another is timed.
Before any timing all must agree on the outputs.  README.md says how the
figures are made.
"""
import argparse
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import clip

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = ROOT / "build" / "peers" / "models"
TITLES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "zentorch": "zentorch"}
# Who computes in a precision; of bf16, zentorch where it is installed (AMD's processors).
CONTENDERS = {"fp32": ["onnxruntime", "openvino"], "bf16": ["openvino", "zentorch"]}
# How far the outputs may be apart: `vlpc compare` options.
TOLERANCE = {"fp32": ["--atol", "1e-3"], "bf16": ["--atol", "2", "--min-cosine", "0.998"]}
SHAPES = ("b32:image:1,b32:image:8,b32:image:16,b16:image:1,b16:image:8,b16:image:16,l14:image:1,"
          "b16:text:100,b16:text:1000")
BF16_SHAPES = "b32:image:1,b32:image:8,b32:image:16,b16:image:1,b16:image:8,b16:image:16"
MARKS = {"fp32": ("<!-- peers -->\n", "<!-- end of peers -->\n"),
         "bf16": ("<!-- peers in bf16 -->\n", "<!-- end of peers in bf16 -->\n")}
WARM_MS = 300
SLOW_MS = 10e3  # a run longer than this is a turn by itself, warmed up by the check of outputs


def say(text):
    print("peers: " + text, file=sys.stderr, flush=True)


# ---- options ----------------------------------------------------------------

def parse_shape(text):
    match = re.fullmatch(r"(b32|b16|l14):(image|text):([1-9][0-9]*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape such as b16:image:8")
    return match[1], match[2], int(match[3])


def parse_options():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--precision", choices=CONTENDERS, default="fp32")
    p.add_argument("--shapes", metavar="LIST",
                   help=f"SIZE:TOWER:BATCH, separated by commas (default: {SHAPES}, "
                        f"in bf16 {BF16_SHAPES})")
    p.add_argument("--exporters", metavar="LIST",
                   help="legacy, dynamo (default: both, in bf16 the legacy one)")
    p.add_argument("--peers", metavar="LIST", help="openvino, … (default: all that are installed)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--rounds", type=int, default=9, help="turns of each (default: %(default)s)")
    p.add_argument("--turn", type=float, default=1.0, metavar="SECONDS",
                   help="timed work in one turn (default: %(default)s)")
    p.add_argument("--quick", action="store_true", help="2 short turns: tells only that it works")
    p.add_argument("--vlpc", default=str(ROOT / "build/release/cli/vlpc"), metavar="FILE")
    p.add_argument("--out", default=str(ROOT / "docs/performance.md"), metavar="FILE",
                   help="page whose table is replaced; - for none (default: %(default)s)")
    p.add_argument("--json", metavar="FILE", help="also write all figures")
    o = p.parse_args()
    if o.quick:
        o.rounds, o.turn = 2, 0.05
    o.shapes = o.shapes or (SHAPES if o.precision == "fp32" else BF16_SHAPES)
    o.exporters = o.exporters or ("legacy,dynamo" if o.precision == "fp32" else "legacy")
    names = o.peers.split(",") if o.peers else CONTENDERS[o.precision]
    if not set(names) <= set(CONTENDERS[o.precision]):
        p.error(f"--peers takes {', '.join(CONTENDERS[o.precision])} in {o.precision}")
    o.peers = {n: TITLES[n] for n in names if find_spec(n)}
    try:
        o.shapes = [parse_shape(s) for s in o.shapes.split(",")]
    except argparse.ArgumentTypeError as e:
        p.error(str(e))
    o.exporters = o.exporters.split(",")
    if not set(o.exporters) <= {"legacy", "dynamo"}:
        p.error("--exporters takes legacy and dynamo")
    if not os.access(o.vlpc, os.X_OK):
        p.error(f"{o.vlpc} is not there; build it with scripts/build or name it with --vlpc")
    return o


# ---- contenders -------------------------------------------------------------

def command(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"peers: {' '.join(map(str, words))} failed:\n{done.stderr}{done.stdout}")
    return done.stdout


class Vlpc:
    """Each turn is one `vlpc bench`, which warms up itself."""

    def __init__(self, o, artifact, tower, batch):
        self.words = [o.vlpc, "bench", artifact, "--tower", tower, "--batch", batch,
                      "--threads", o.threads, "--json", "--quiet"]
        self.last = None

    def turn(self, iters):
        self.last = json.loads(command(*self.words, "--iters", iters))
        return self.last["best_ms"], self.last["median_ms"]

    def close(self):
        pass


class Peer:
    """A worker, stopped while it is not its turn so that its threads are quiet."""

    def __init__(self, o, name, model, inputs):
        words = [sys.executable, HERE / "worker.py", name, model, inputs, o.threads, o.precision]
        self.process = subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.name, self.warm_ms = name, WARM_MS

    def ask(self, order):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"peers: {self.name} ended with {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def outputs(self, path):
        if self.ask({"outputs": str(path)})["ms"] > SLOW_MS:
            self.warm_ms = 0

    def turn(self, iters):
        ms = self.ask({"iters": iters, "warm_ms": self.warm_ms})["ms"]
        return min(ms), statistics.median(ms)

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


# ---- one shape --------------------------------------------------------------

def model_file(size, tower, exporter):
    path = MODELS / f"{size}_{tower}_{exporter}.onnx"
    if not path.exists():
        say(f"exporting {path.name}")
        MODELS.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        command(sys.executable, HERE / "export.py", size, tower, exporter, part)
        part.rename(path)
    return path


def make_inputs(size, tower, batch, path):
    rng, s = np.random.default_rng(0), clip.SIZES[size]
    if tower == "image":
        x = rng.standard_normal((batch, 3, s.pixels, s.pixels), dtype=np.float32)
    else:
        x = class_prompts(rng, batch, s)
    np.savez(path, **{tower: x})


def class_prompts(rng, n, size):
    """"a photo of a NAME." as vlpc bench makes them: 9 tokens on average."""
    x = np.zeros((n, size.context), np.int64)
    x[:, :5] = [size.vocabulary - 2, 1, 2, 3, 4]
    for row, name in zip(x, rng.choice([1, 1, 2, 2, 2, 3, 3, 3], n)):
        row[5:5 + name] = rng.integers(5, 200, name)
        row[5 + name:7 + name] = 269, size.vocabulary - 1
    return x


def check_outputs(o, peers, artifact, inputs, folder):
    """vlpc's outputs against each peer's; exits when they differ."""
    for peer in peers:
        expect = folder / f"{peer.name}.npz"
        peer.outputs(expect)
        command(o.vlpc, "compare", artifact, "--inputs", inputs, "--expect", expect,
                "--threads", o.threads, *TOLERANCE[o.precision], "--quiet")


def measure(o, contenders):
    once = {name: c.turn(1) for name, c in contenders.items()}
    turns = {name: [t] if t[0] > SLOW_MS else [] for name, t in once.items()}
    for n in range(o.rounds):
        for name, c in contenders.items():
            if len(turns[name]) <= n:
                least, iters = 1 if turns[name] else 2, round(1e3 * o.turn / once[name][0])
                turns[name].append(c.turn(max(least, min(100, iters))))
    return {name: {"best_ms": min(t[0] for t in all_turns),
                   "median_ms": statistics.median(t[1] for t in all_turns)}
            for name, all_turns in turns.items()}


def time_shape(o, shape, exporter, folder):
    size, tower, batch = shape
    model = model_file(size, tower, exporter)
    artifact, inputs = folder / f"{model.stem}.vlpc", folder / f"{size}_{tower}_{batch}.npz"
    if not artifact.exists():
        command(o.vlpc, "compile", model, "-o", artifact, "--precision", o.precision,
                "--calibrate", "none", "--quiet")
    make_inputs(size, tower, batch, inputs)
    peers = [Peer(o, name, model, inputs) for name in o.peers]
    contenders = {"vlpc": Vlpc(o, artifact, tower, batch)} | {p.name: p for p in peers}
    try:
        check_outputs(o, peers, artifact, inputs, folder)
        result = measure(o, contenders)
    finally:
        for c in contenders.values():
            c.close()
    result["vlpc"] |= {k: contenders["vlpc"].last[k]
                       for k in ("target", "peak_gflops", "peak_fraction", "load_ms",
                                 "peak_rss_bytes", "private_bytes")}
    return {"size": size, "tower": tower, "batch": batch, "exporter": exporter,
            "flops": clip.flops(size, tower, batch)} | result


# ---- the page ---------------------------------------------------------------

def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def figure_options(o):
    """The options that the figures depend on."""
    words = ["--precision", "bf16"] if o.precision == "bf16" else []
    words += ["--quick"] if o.quick else ["--rounds", str(o.rounds), "--turn", f"{o.turn:g}"]
    if set(o.peers) != {n for n in CONTENDERS[o.precision] if find_spec(n)}:
        words += ["--peers", ",".join(o.peers)]
    words += ["--threads", str(o.threads), "--exporters", ",".join(o.exporters)]
    return words + ["--shapes", ",".join(f"{s}:{t}:{b}" for s, t, b in o.shapes)]


def machine(o, results):
    versions = [command(o.vlpc, "--version").splitlines()[0]]
    versions += [f"{title} {metadata.version(name)}" for name, title in o.peers.items()]
    versions.append(f"exports by torch {metadata.version('torch')}")
    peak = max(r["vlpc"]["peak_gflops"] for r in results)
    return [f"- machine: {cpu_model()}, {len(os.sched_getaffinity(0))} processors, "
            f"{o.threads} threads used, {results[0]['vlpc']['target']} code; measured "
            f"{'FMA' if o.precision == 'fp32' else 'bf16'} peak {peak:.0f} GFLOP/s; "
            f"load before the run {o.load:.2f}",
            f"- versions: {', '.join(versions)}",
            f"- command: `{' '.join(['bench/peers/run', *figure_options(o)])}`"]


def row(r, peers):
    name = {"b32": "B/32", "b16": "B/16", "l14": "L/14"}[r["size"]]
    unit = "batch" if r["tower"] == "image" else "texts"
    cells = [f"{name} {unit} {r['batch']}", r["exporter"]]
    for contender in ["vlpc", *peers]:
        t = r[contender]
        cells += [f"{t['best_ms']:.1f} / {t['median_ms']:.1f}",
                  f"{r['flops'] / t['best_ms'] * 1e-6:.0f}"]
    cells += [f"{r[p]['best_ms'] / r['vlpc']['best_ms']:.2f}" for p in peers]
    return "| " + " | ".join(cells) + " |"


def table(results, peers):
    head = ["shape", "export"]
    for title in ["vlpc", *peers.values()]:
        head += [f"{title} ms", "GFLOP/s"]
    head += [f"× {title}" for title in peers.values()]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += [row(r, peers) for r in results]
    for tower in sorted({r["tower"] for r in results}):
        lines += ["", f"Geometric means, {tower} tower: {means(results, tower, peers)}."]
    return lines


def means(results, tower, peers):
    rows = [r for r in results if r["tower"] == tower]
    ratios = {title: [r[p]["best_ms"] / r["vlpc"]["best_ms"] for r in rows]
              for p, title in peers.items()}
    if len(peers) > 1:
        ratios["the better at each shape"] = [min(r[p]["best_ms"] for p in peers) /
                                              r["vlpc"]["best_ms"] for r in rows]
    return ", ".join(f"{statistics.geometric_mean(x):.2f} × {t}" for t, x in ratios.items())


def write_page(path, precision, text):
    page, (begin, end) = Path(path), MARKS[precision]
    old = page.read_text() if page.exists() else begin + end
    if begin not in old or end not in old:
        raise SystemExit(f"peers: {path} lacks the lines {begin.strip()} and {end.strip()}")
    before, rest = old.split(begin, 1)
    page.write_text(before + begin + text + end + rest.split(end, 1)[1])


def main():
    o = parse_options()
    o.load = os.getloadavg()[0]
    if o.load > 0.5:
        say(f"the machine is busy (load {o.load:.2f}); figures of this run are not to be trusted")
    results = []
    with tempfile.TemporaryDirectory(prefix="vlpc-peers-") as folder:
        for shape in o.shapes:
            for exporter in o.exporters:
                say(f"{shape[0]} {shape[1]} batch {shape[2]}, {exporter} export")
                results.append(time_shape(o, shape, exporter, Path(folder)))
    text = "\n".join([*machine(o, results), "", *table(results, o.peers)]) + "\n"
    print(text, end="")
    if o.json:
        Path(o.json).write_text(json.dumps(results, indent=1) + "\n")
    if o.out != "-":
        write_page(o.out, o.precision, text)


if __name__ == "__main__":
    main()
