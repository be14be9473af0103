#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes runtime/html_entities.def from Python's table of HTML 5 names."""
import html.entities
import pathlib

OUT = pathlib.Path(__file__).resolve().parents[2] / "runtime/html_entities.def"
HEAD = """/* html_entities.def - the names of HTML 5's character references, sorted by
** byte value; written by scripts/golden/html_entities.py.
**   name   without "&" and ";"
**   bare   1 when the name also counts without a ";"
**   a, b   one or two code points (b is 0 for one) */
"""

names = html.entities.html5
rows = []
for name in sorted({n.rstrip(";") for n in names}, key=lambda n: n.encode()):
    value = names[name + ";"]
    a, b = ord(value[0]), ord(value[1]) if len(value) > 1 else 0
    rows.append(f'H("{name}",{int(name in names)},0x{a:x},{f"0x{b:x}" if b else 0})')
lines, line = [], ""
for row in rows:
    if line and len(line) + len(row) + 1 > 100:
        lines.append(line)
        line = ""
    line += (" " if line else "") + row
OUT.write_text(HEAD + "\n".join([*lines, line]) + "\n")
