"""A report as one HTML page that needs nothing else: style inside, pictures as data URIs, no script."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from html import escape

from nnunet_iac.reports.blocks import Block, Bullets, Folded, Notice, Paragraph, Picture, Report, Section, Table
from nnunet_iac.reports.canvas import DOTS_PER_INCH

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy of the page: a browser loads nothing from outside, even if text asked for it."""

STYLE = """
:root { --ink: #22272e; --muted: #6b7480; --rule: #e3e7ec; --accent: #28348f; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif; }
header { background: var(--accent); color: white; padding: 2rem 1.5rem 1.6rem; }
header > div, nav > div, main { max-width: 1180px; margin: 0 auto; }
h1 { margin: 0 0 .3rem; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 .8rem; font-size: 1.25rem; }
header p { margin: 0; opacity: .85; overflow-wrap: anywhere; }
.badge { display: inline-block; margin: .9rem 0 0; padding: .15rem .75rem; border-radius: 1rem; font-weight: 600;
  font-size: .9rem; background: #dfe4ea; color: #22272e; }
.badge.good { background: #bfe8cd; color: #0d4a24; }
.badge.warn { background: #ffd98a; color: #5b3a00; }
.badge.busy { background: #bfdcf7; color: #0b3a66; }
nav { background: white; border-bottom: 1px solid var(--rule); padding: .6rem 1.5rem; position: sticky; top: 0; }
nav a { margin-right: 1.2rem; color: var(--accent); text-decoration: none; font-size: .92rem; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
main { padding: 1.2rem 1.5rem 3rem; }
section { background: white; border: 1px solid var(--rule); border-radius: 10px; padding: 1.3rem 1.5rem;
  margin: 0 0 1.2rem; scroll-margin-top: 3.5rem; }
ul { margin: 0; padding-left: 1.2rem; } li { margin: .25rem 0; overflow-wrap: anywhere; }
p { overflow-wrap: anywhere; }
.notice { border-left: 4px solid #e09f00; background: #fff8e6; padding: .7rem 1rem; border-radius: 0 6px 6px 0;
  margin: 1rem 0; }
.notice.plain { border-color: #9aa5b1; background: #f5f7f9; }
figure { margin: 1.2rem 0 1.6rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .5rem; max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .32rem 1.2rem .32rem 0; border-bottom: 1px solid var(--rule);
  vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 600; }
th { white-space: nowrap; }
td.number { font-variant-numeric: tabular-nums; text-align: right; }
details { border: 1px solid var(--rule); border-radius: 8px; padding: .6rem 1rem; margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
@media print { nav { display: none; } body { background: white; } section { border: 0; break-inside: auto; } }
"""


def render_page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the page; ``pictures`` holds the PNG file of each picture by its name.

    All text of the report is escaped, so nothing that a file name, a class name or a setting says becomes markup.
    """
    links = "".join(f'<a href="#{escape(s.anchor)}">{escape(s.title)}</a>' for s in report.sections)
    sections = "\n".join(_section(section, pictures) for section in report.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>{escape(report.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><div><h1>{escape(report.title)}</h1><p>{escape(report.subject)}</p>
<span class="badge {report.tone}">{escape(report.badge)}</span></div></header>
<nav><div>{links}</div></nav>
<main>
{sections}
</main>
</body>
</html>
"""


def _section(section: Section, pictures: Mapping[str, bytes]) -> str:
    blocks = "\n".join(_block(block, pictures) for block in section.blocks)
    return f'<section id="{escape(section.anchor)}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block, pictures: Mapping[str, bytes]) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Bullets):
        return _list(block.items)
    if isinstance(block, Notice):
        return f'<div class="notice {block.tone}">{_list(block.items)}</div>'
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Folded):
        inner = "\n".join(_block(part, pictures) for part in block.blocks)
        return f"<details><summary>{escape(block.title)}</summary>\n{inner}\n</details>"
    return _figure(block, pictures[block.name])


def _list(items: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    numeric = [all(_is_number(cell) for cell in column) for column in zip(*table.rows, strict=True)]
    rows = "".join("<tr>" + "".join(map(_cell, row, numeric)) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(text: str, is_number: bool) -> str:
    return f'<td class="number">{escape(text)}</td>' if is_number else f"<td>{escape(text)}</td>"


def _is_number(text: str) -> bool:
    return text == "nan" or (bool(text) and not set(text) - set("+-.0123456789"))


def _figure(picture: Picture, png: bytes) -> str:
    # The header of a PNG file holds its width; drawn at this width, it is sharp on dense screens too.
    (pixels,) = struct.unpack(">I", png[16:20])
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    width = picture.width if picture.width is not None else round(pixels * 96 / DOTS_PER_INCH)
    image = f'<img width="{width}" alt="{escape(picture.alternative)}" src="{source}">'
    return f"<figure>{image}<figcaption>{escape(picture.caption)}</figcaption></figure>"
