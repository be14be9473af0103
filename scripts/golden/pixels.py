#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of decoding and preprocessing with Pillow and numpy.

  pixels.py --shared DIR        writes tests/runtime/data/{pixels.txt.gz,images/}

pixels.txt.gz has one fact a line; hashes are XXH3-64 in hex.
  decode FILE W H RGB           images/FILE as Image.open().convert("RGB")
  photo ROOT FILE TENSOR        f32 [3,224,224] with models/small_clip's preprocessing;
                                ROOT is models (models/photos) or shared (photos)
  noise W H SEED RULE SIDE CROP FILTER U8 TENSOR
                                generated pixels (see noise()), CLIP's mean and std
The tensors of the photos that small_clip/expected.npz names are checked
against its sha256 first.
"""
import argparse
import gzip
import hashlib
import io
import json
import pathlib
import random
import struct
import zlib

import numpy as np
import xxhash
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/runtime/data"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def hash64(a):
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(a).tobytes())


# What torchvision's Resize, CenterCrop, ToTensor and Normalize do.


def resize(im, rule, side, resample):
    w, h = im.size
    if rule == "none":
        return im
    if rule == "exact":
        size = (side, side)
    else:
        short, long = min(w, h), max(w, h)
        longer = int(side * long / short)
        size = (side, longer) if w <= h else (longer, side)
    return im if size == im.size else im.resize(size, resample)


def center_crop(im, side):
    w, h = im.size
    if side > w or side > h:
        left, top = max(side - w, 0) // 2, max(side - h, 0) // 2
        right, bottom = (max(side - w, 0) + 1) // 2, (max(side - h, 0) + 1) // 2
        padded = Image.new("RGB", (w + left + right, h + top + bottom))
        padded.paste(im, (left, top))
        im, (w, h) = padded, padded.size
    top, left = int(round((h - side) / 2.0)), int(round((w - side) / 2.0))
    return im.crop((left, top, left + side, top + side))


def normalise(u8, mean, std):
    x = u8.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (mean, std))
    return np.ascontiguousarray((x - mean) / std)


def noise(w, h, seed):
    """Pixels that tests/runtime/test_preprocess.c makes as well."""
    x = np.arange(w * h * 3, dtype=np.uint32) * np.uint32(2654435761) + np.uint32(seed)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(2246822519)
    return Image.fromarray(((x ^ (x >> np.uint32(13))) >> np.uint32(24)).astype(np.uint8)
                           .reshape(h, w, 3), "RGB")


def noise_lines():
    rnd = random.Random(7)
    fixed = [(1, 1), (1, 7), (7, 1), (2, 2), (3, 500), (500, 3), (224, 224), (224, 300), (301, 224),
             (223, 223), (225, 224), (225, 227), (65, 64), (1, 3000), (3000, 1), (32, 32)]
    sizes = fixed + [(rnd.randint(1, 640), rnd.randint(1, 480)) for _ in range(200 - len(fixed))]
    for i, (w, h) in enumerate(sizes):
        rule = "short" if i % 8 else ("exact" if i % 16 else "none")
        side = 224 if i % 3 else rnd.choice([32, 64, 97, 336])
        crop = side if i % 5 else rnd.choice([31, 224, 240])
        resample = 2 if i % 7 == 3 else 3
        seed = rnd.getrandbits(32)
        u8 = np.asarray(center_crop(resize(noise(w, h, seed), rule, side, resample), crop))
        yield (f"noise {w} {h} {seed} {rule} {side} {crop} {resample} {hash64(u8)} "
               f"{hash64(normalise(u8, CLIP_MEAN, CLIP_STD))}")


def photo_tensor(path, config):
    u8 = np.asarray(center_crop(resize(Image.open(path).convert("RGB"), "short", 224, 3), 224))
    return u8, normalise(u8, config["image_mean"], config["image_std"])


def check_expected(shared, config):
    e = np.load(shared / "small_clip/expected.npz")
    pixels = np.load(shared / "small_clip/expected_pixels_u8.npz")
    key = next(k for k in e.files if "sha256" in k)
    names = [str(n) for n in e["image_files"]]
    for name, want in zip(names, e[key]):
        u8, tensor = photo_tensor(shared / "photos" / name.removeprefix("images/"), config)
        assert hashlib.sha256(tensor.tobytes()).hexdigest() == str(want), name
        for other, crop in zip(pixels["image_files"], pixels[next(
                k for k in pixels.files if k != "image_files")]):
            assert str(other) != name or np.array_equal(crop, u8), name


def photo_lines(shared):
    config = json.loads((ROOT / "models/small_clip/preprocessor_config.json").read_text())
    check_expected(shared, config)
    for root, base in (("models", ROOT / "models/photos"), ("shared", shared / "photos")):
        for path in sorted([*base.rglob("*.jpg"), *base.rglob("*.png")]):
            shipped = any(d in path.parts for d in ("caltech101_test", "eurosat_test",
                                                    "eurosat_train16"))
            if root == "models" or not shipped:
                yield (f"photo {root} {path.relative_to(base).as_posix()} "
                       f"{hash64(photo_tensor(path, config)[1])}")


# Small files of every kind, to see that each decodes as Pillow decodes it.


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def adam7(rows):
    """rows: [h, w, bits per pixel] of 0 and 1."""
    out = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                           (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in rows[y0::dy, x0::dx]:
            if row.size:
                out += b"\0" + np.packbits(row.reshape(-1)).tobytes()
    return out


def png(w, h, depth, colour, seed, interlaced=False, palette=None, trns=None):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rnd = np.random.default_rng(seed)
    rows = rnd.integers(0, 2, (h, w, depth * channels), dtype=np.uint8)
    if interlaced:
        raw = adam7(rows)
    else:
        raw = b"".join(b"\0" + np.packbits(r.reshape(-1)).tobytes() for r in rows)
    head = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlaced))
    body = chunk(b"PLTE", palette) if palette else b""
    body += chunk(b"tRNS", trns) if trns else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body +
            chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def png_files():
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for inter in (False, True):
                name = f"png_c{colour}_d{depth}{'_adam7' if inter else ''}.png"
                yield name, png(13, 9, depth, colour, colour * 100 + depth, inter)
    for depth in (1, 2, 4, 8):
        colours = bytes(range(3 * 2 ** depth)) if depth < 8 else bytes(i % 251 for i in range(768))
        for inter in (False, True):
            name = f"png_c3_d{depth}{'_adam7' if inter else ''}.png"
            yield name, png(13, 9, depth, 3, depth, inter, colours, b"\0\x80")
    yield "png_short_palette.png", png(13, 9, 8, 3, 5, False, bytes(range(30)))
    yield "png_grey_trns.png", png(13, 9, 8, 0, 6, False, None, b"\0\x80")
    yield "png_grey16_trns.png", png(13, 9, 16, 0, 6, False, None, b"\0\x80")
    yield "png_65535x1.png", png(65535, 1, 1, 0, 1)


def jpeg(mode, seed, size=(19, 11), **options):
    w, h = size
    rnd = np.random.default_rng(seed)
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    small = rnd.integers(0, 256, (3, 4, channels), dtype=np.uint8)
    im = Image.fromarray(small.squeeze(), mode).resize((w, h), Image.BICUBIC)
    out = io.BytesIO()
    im.save(out, "JPEG", **options)
    return out.getvalue()


def jpeg_files():
    for sub in (0, 1, 2):
        yield f"jpeg_sub{sub}.jpg", jpeg("RGB", sub, quality=80, subsampling=sub)
    yield "jpeg_progressive.jpg", jpeg("RGB", 4, quality=80, progressive=True)
    yield "jpeg_grey.jpg", jpeg("L", 5, quality=80)
    cmyk = jpeg("CMYK", 6, quality=80)
    yield "jpeg_cmyk.jpg", cmyk
    at = cmyk.index(b"Adobe") + 11
    yield "jpeg_ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:]
    exif = Image.Exif()
    exif[0x112] = 6
    yield "jpeg_rotated.jpg", jpeg("RGB", 7, quality=80, exif=exif)
    yield "jpeg_restart.jpg", jpeg("RGB", 8, quality=80, restart_marker_blocks=1)
    plain = jpeg("RGB", 9, quality=80)
    yield "jpeg_stray_bytes.jpg", plain[:-2] + b"\1\2\3" + plain[-2:]
    yield "jpeg_trailing.jpg", plain + b"trailing words"


def decode_lines():
    folder = DATA / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in [*png_files(), *jpeg_files()]:
        (folder / name).write_bytes(data)
        im = Image.open(io.BytesIO(data)).convert("RGB")
        yield f"decode {name} {im.width} {im.height} {hash64(np.asarray(im))}"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--shared", type=pathlib.Path, required=True)
    shared = args.parse_args().shared
    lines = [*decode_lines(), *noise_lines(), *photo_lines(shared)]
    with open(DATA / "pixels.txt.gz", "wb") as f:
        f.write(gzip.compress("\n".join(lines).encode() + b"\n", 9, mtime=0))
    print(f"{len(lines)} lines")


if __name__ == "__main__":
    main()
