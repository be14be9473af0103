# SPDX-License-Identifier: Apache-2.0
"""One peer in a process of its own: worker.py PEER MODEL.onnx INPUTS.npz THREADS PRECISION

Reads lines of JSON: {"iters": n, "warm_ms": t} answers {"ms": [...]}, and
{"outputs": "FILE.npz"} writes what the model computes and answers {"ms": t}.
Ends with its input.
"""
import json
import sys
import time

import numpy as np


def open_onnxruntime(path, feed, threads, precision):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(names, feed)))


def open_openvino(path, feed, threads, precision):
    import openvino
    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: list(x.shape) for name, x in feed.items()})
    request = core.compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
    }).create_infer_request()
    names = [o.get_any_name() for o in model.outputs]

    def run():
        request.infer(feed)
        return {name: request.get_tensor(name).data for name in names}
    return run


def open_zentorch(path, feed, threads, precision):
    """AMD's backend of torch.compile, on the model that the ONNX file was exported from."""
    from pathlib import Path

    import torch
    import zentorch  # noqa: F401 (registers the backend)

    import clip
    size, tower, _ = Path(path).stem.split("_")
    torch.set_num_threads(threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    model = clip.make(size, tower).to(dtype)
    x = torch.from_numpy(feed[tower])
    x = x.to(dtype) if x.is_floating_point() else x
    compiled = torch.compile(model, backend="zentorch")

    def run():
        with torch.inference_mode():
            return {f"{tower}_features": compiled(x).float().numpy()}
    return run


OPEN = {"onnxruntime": open_onnxruntime, "openvino": open_openvino, "zentorch": open_zentorch}


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def warm_up(run, limit_ms):
    spent, n = 0.0, 0
    while n < 20 and (spent < limit_ms or (n < 2 and limit_ms > 0)):
        spent, n = spent + timed(run), n + 1


def main(peer, path, inputs, threads, precision):
    run = OPEN[peer](path, dict(np.load(inputs)), int(threads), precision)
    for line in sys.stdin:
        order, answer = json.loads(line), {}
        if "outputs" in order:
            answer["ms"] = timed(lambda: np.savez(order["outputs"], **run()))
        else:
            warm_up(run, order["warm_ms"])
            answer["ms"] = [timed(run) for _ in range(order["iters"])]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:6])
