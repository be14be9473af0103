"""Writes the golden files of prompt sets and checkpoints.

  scripts/golden/prompts.py safetensors   tests/base/data/golden.safetensors
"""
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def golden_safetensors():
    from safetensors.numpy import save_file
    types = ["u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8"]
    arrays = {f"x.{t}": (np.arange(6) + i).astype("<" + t).reshape(2, 3)
              for i, t in enumerate(types)}
    arrays["b"] = np.array([True, False, True])
    arrays["a"] = np.array(0.5, "<f4")
    arrays["empty"] = np.zeros((0, 7), "<f4")
    save_file(arrays, ROOT / "tests/base/data/golden.safetensors",
              {"method": 'co"op\u00e9'})


if __name__ == "__main__":
    {"safetensors": golden_safetensors}[sys.argv[1]]()
