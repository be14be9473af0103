#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files of the tokenizer.

  tokens.py --shared DIR      writes tests/runtime/data/tokens.txt.gz

The first line counts the texts and those left out. Each other line is one text:
its UTF-8 (escaped where it is not printable ASCII, as \\xx for each byte), a tab, and
the low 32 bits, in hex, of the XXH3-64 of its ids as int64, SOT to EOT, context 77:
OpenAI's and Hugging Face's for models/small_clip's vocabulary, then for the 49,408 ids
of DIR/tokenizer. OpenAI's are "-" when ftfy would change the text by a guess. Texts are all
class names and prompt templates of DIR/names, and 10,000 seeded random strings of
characters that Unicode 14 knows.
"""
import argparse
import gzip
import html
import json
import pathlib
import random
import struct
import unicodedata

import ftfy
import numpy as np
import regex as re
import xxhash
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/runtime/data"
CONTEXT = 77


def byte_chars():
    """The printable character that stands for each byte in the vocabulary."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(rest)}


class OpenAI:
    """OpenAI's algorithm, written down from its definition."""

    PATTERN = re.compile(
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
        r"[^\s\p{L}\p{N}]+", re.IGNORECASE)

    def __init__(self, path):
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
        pairs = [tuple(line.split()) for line in lines[1:48894 + 1] if line]
        self.chars = byte_chars()
        tokens = list(self.chars.values())
        tokens += [t + "</w>" for t in tokens] + ["".join(p) for p in pairs]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        self.ids = {t: i for i, t in enumerate(tokens)}
        self.rank = {p: i for i, p in enumerate(pairs)}

    def word(self, word):
        if word in ("<|startoftext|>", "<|endoftext|>"):
            return [self.ids[word]]
        parts = [self.chars[b] for b in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            ranks = [self.rank.get(p, 1 << 30) for p in zip(parts, parts[1:])]
            best = min(ranks)
            if best == 1 << 30:
                break
            out, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and self.rank.get((parts[i], parts[i + 1])) == best:
                    out.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    out.append(parts[i])
                    i += 1
            parts = out
        return [self.ids[p] for p in parts]

    def encode(self, text):
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        text = re.sub(r"\s+", " ", text).strip().lower()
        ids = [self.ids["<|startoftext|>"]]
        for word in re.findall(self.PATTERN, text):
            ids += self.word(word)
        ids.append(self.ids["<|endoftext|>"])
        return ids if len(ids) <= CONTEXT else ids[:CONTEXT - 1] + ids[-1:]


def needs_a_guess(text):
    plain = ftfy.fix_text(text, unescape_html=False, fix_encoding=False, fix_c1_controls=False,
                          remove_terminal_escapes=False, fix_surrogates=False)
    return ftfy.fix_text(text) != plain


def names(shared):
    found = []

    def walk(v):
        if isinstance(v, str):
            found.append(v)
        elif isinstance(v, dict):
            for key, value in v.items():
                found.append(key)
                walk(value)
        elif isinstance(v, list):
            for x in v:
                walk(x)

    for path in sorted((shared / "names").glob("*.json")):
        walk(json.loads(path.read_text()))
    walk([e["text"] for e in json.loads((shared / "tokenizer/expected_openai_tokens.json")
                                        .read_text())])
    return list(dict.fromkeys(found))


def random_texts(n):
    rnd = random.Random(11)
    known = [c for c in map(chr, range(0x110000))
             if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    classes = {}
    for c in known:
        classes.setdefault(unicodedata.category(c), []).append(c)
    cased = [c for c in known if c.lower() != c or c.upper() != c]
    marks = [c for c in known if unicodedata.combining(c)]
    decomposed = [unicodedata.normalize("NFD", c) for c in known
                  if unicodedata.normalize("NFD", c) != c]
    blanks = [c for c in known if c.isspace()]
    words = ("the cat's isn't they're I'VE a photo of DOG 3.14 co-op U.S.A. x86_64 well!! 'S "
             "''re").split()
    odd = ["<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>", "<|STARTOFTEXT|>", "'\u017f",
           "<|\u017ftartoftext|>", "\u03a3", "\u0391\u03a3", "\u0130", "\u0345", "\u00df", "\ufb01",
           "\u2019s", "\u201cq\u201d", "\uff21\uff22", "\uff76\uff9e", "&amp;", "&lt;", "&eacute",
           "&#233;", "&#x1F600;", "&notit;", "&#0;", "&nGt;", "&amp;amp;",
           "\U0001f468\u200d\U0001f469", "\u1100\u1161\u11a8", "\u0929", "\u09c7\u09be",
           "\x1f", "\x0b", "\u2028", "'", "-", "\u00b7"]
    makers = [
        lambda: rnd.choice(words), lambda: rnd.choice(words), lambda: rnd.choice(odd),
        lambda: "".join(rnd.choice(classes[rnd.choice(list(classes))])
                        for _ in range(rnd.randint(1, 6))),
        lambda: "".join(rnd.choice(cased) for _ in range(rnd.randint(1, 8))),
        lambda: "".join(chr(rnd.randint(0x391, 0x3c9)) for _ in range(rnd.randint(1, 8)))
        .replace("\u03a2", "\u03a3"),
        lambda: rnd.choice(decomposed) + rnd.choice(marks), lambda: rnd.choice(blanks),
        lambda: "".join(chr(rnd.randint(33, 126)) for _ in range(rnd.randint(1, 12))),
        lambda: "".join(rnd.choice(known) for _ in range(rnd.randint(1, 5))),
        lambda: "".join(chr(rnd.randint(0xa0, 0x24f)) for _ in range(rnd.randint(1, 6))),
    ]
    return ["".join(rnd.choice(makers)() + rnd.choice(["", " ", " "])
                    for _ in range(rnd.randint(1, rnd.choice([2, 4, 8]) if i % 50 else 80)))
            for i in range(n)]


def short_hash(ids):
    return f"{xxhash.xxh3_64_intdigest(struct.pack(f'<{len(ids)}q', *ids)) & 0xffffffff:08x}"


def escape(text):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\{b:02x}"
                   for b in text.encode("utf-8"))


def load_hf(path):
    hf = Tokenizer.from_file(str(path))
    hf.no_padding()
    hf.enable_truncation(CONTEXT)
    return hf


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--shared", type=pathlib.Path, required=True)
    shared = args.parse_args().shared
    full = OpenAI(shared / "tokenizer/bpe_simple_vocab_16e6.txt.gz")
    for e in json.loads((shared / "tokenizer/expected_openai_tokens.json").read_text()):
        want = e["ids"] if len(e["ids"]) <= CONTEXT else e["ids"][:CONTEXT - 1] + e["ids"][-1:]
        assert full.encode(e["text"]) == want, e["text"]
    texts = names(shared) + random_texts(10000)
    small = OpenAI(ROOT / "models/small_clip/bpe_small_vocab_4000.txt.gz")
    expected = np.load(shared / "small_clip/expected.npz")
    for text, want in zip(expected["strings"], expected["ids"]):
        ids = small.encode(str(text))
        assert np.array_equal(want, ids + [0] * (CONTEXT - len(ids))), text
        texts += [str(text)] if str(text) not in texts else []
    both = [(small, load_hf(ROOT / "models/small_clip/tokenizer.json")),
            (full, load_hf(shared / "tokenizer/hf_tokenizer.json"))]
    lines, left_out = [], 0
    for text in texts:
        guess = needs_a_guess(text)
        left_out += guess
        hashes = []
        for openai, hf in both:
            hashes += ["-" if guess else short_hash(openai.encode(text)),
                       short_hash(hf.encode(text).ids)]
        lines.append(escape(text) + "\t" + " ".join(hashes))
    path = DATA / "tokens.txt.gz"
    body = f"{len(texts)} {left_out}\n" + "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(body.encode(), 9, mtime=0))
    print(f"{len(texts)} texts, {left_out} left out, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
