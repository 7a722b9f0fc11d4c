"""The HTML page: markup that escapes whatever is not markup, the style sheet and the frame."""

from __future__ import annotations

import html
import re
from typing import Any

# Characters that HTML forbids or that show nothing: C0 controls but tab and newline, DEL, C1.
_CONTROLS = {code: 0x2400 + code for code in (*range(9), *range(11, 32))}
_CONTROLS |= {0x7F: 0x2421} | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_EMPTY = ("br", "img", "meta")  # elements without an end tag


class Markup(str):
    """HTML as it is; any other string is text, to be escaped."""


def printable(text: str) -> str:
    """Text with signs for what HTML or UTF-8 forbid: control characters and half characters."""
    return text.translate(_CONTROLS).encode("utf-8", "replace").decode("utf-8")


def escape(text: str) -> Markup:
    """Text as HTML, also fit for an attribute."""
    return Markup(html.escape(printable(text)))


def join(*parts: Any) -> Markup:
    """Markup, strings, numbers, nested lists of them and None (nothing), one after the other."""
    out = []
    for part in parts:
        if isinstance(part, (list, tuple)):
            out.append(join(*part))
        elif isinstance(part, Markup):
            out.append(part)
        elif part is not None:
            out.append(escape(str(part)))
    return Markup("".join(out))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. `class_` is class, `aria_label` aria-label; attributes of None are left out."""
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{name}{''.join(written)}>"
    return Markup(start if name in _EMPTY else f"{start}{join(*children)}</{name}>")


def table(caption: str, head: list[Any], rows: list[list[Any]], *, class_: str = "") -> Markup:
    """A table in a box of its own, which scrolls where the page is too narrow for it.

    The first cell of each row is its heading.
    """
    top = tag("tr", [tag("th", cell, scope="col") for cell in head])
    body = [
        tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]])
        for row in rows
    ]
    inside = tag(
        "table", tag("caption", tag("span", caption)), tag("thead", top), tag("tbody", body)
    )
    # Whoever has no mouse scrolls a box by its focus.
    return tag(
        "div",
        inside,
        class_=f"wide {class_}".strip(),
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def page(
    title: str,
    kicker: str,
    lead: str,
    sections: dict[str, Any],
    *,
    warnings: list[str],
    foot: str,
) -> str:
    """The whole file: sections by their headings. Nothing in it loads or runs anything."""
    names = {heading: re.sub(r"\W+", "-", heading.lower()) for heading in sections}
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title}: {kicker.lower()}"),
        tag("style", Markup(STYLE)),
    )
    main = tag(
        "main",
        tag("p", lead, class_="lead"),
        _alarm(warnings) if warnings else None,
        [
            tag(
                "section",
                tag("h2", heading, id=names[heading]),
                body,
                aria_labelledby=names[heading],
            )
            for heading, body in sections.items()
        ],
    )
    links = [tag("a", heading, href=f"#{name}") for heading, name in names.items()]
    body = tag(
        "body",
        tag("header", tag("p", kicker, class_="kicker"), tag("h1", title)),
        tag("nav", links, aria_label="Contents"),
        main,
        tag("footer", foot),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _alarm(lines: list[str]) -> Markup:
    """The red banner."""
    inside = [tag("h2", "Read this first", id="warnings"), tag("ul", [tag("li", x) for x in lines])]
    return tag("section", inside, class_="alarm", aria_labelledby="warnings")


STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --card: #f6f7f9; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0;
  --run: #0b66b5; --band: #a9cdee; --heldout: #00714f; --copies: #b34100; --noise: #7a4fa3;
  --chain: #6b7280; --alarm: #fdeceb; --alarm-ink: #8f1a14; --alarm-line: #d9534c;
  --mark: #1b1f24; --copy1: #fdf1d0; --copy2: #fbdf9d; --copy3: #f8c766; --copy4: #f2a93b;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --card: #1d2127; --ink: #e8eaed; --soft: #a3acb8; --line: #363d47;
  --run: #6db3f2; --band: #27517a; --heldout: #4fc79c; --copies: #f2935c; --noise: #c4a0e8;
  --chain: #98a1ae; --alarm: #3a1a19; --alarm-ink: #ffb4ae; --alarm-line: #c24d46;
  --mark: #f7f3ea; --copy1: #37301f; --copy2: #4f3f1c; --copy3: #6a4f14; --copy4: #855c08;
} }
*, ::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
body > * { max-width: 62.5rem; margin: 0 auto; padding: 0 1.25rem; }
body { padding: 3rem 0 4rem; }
h1, h2, h3 { line-height: 1.25; margin: 0; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.35rem, 5.8vw, 2.1rem); letter-spacing: -0.015em; }
h2 { font-size: 1.35rem; margin-bottom: 0.75rem; }
h3 { font-size: 1.02rem; margin: 1.75rem 0 0.5rem; }
p { margin: 0 0 0.75rem; max-width: 44rem; }
section { margin-top: 3.25rem; }
a { color: var(--run); }
:focus-visible { outline: 2px solid var(--run); outline-offset: 2px; }
.kicker { color: var(--soft); font-size: 0.85rem; letter-spacing: 0.06em; margin: 0 0 0.35rem;
  text-transform: uppercase; }
.lead { font-size: 1.25rem; line-height: 1.45; margin: 0.9rem 0 0.5rem; }
.soft, figcaption, caption { color: var(--soft); font-size: 0.9rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1.1rem; font-size: 0.9rem; }
body > nav { margin: 1rem auto 1.75rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.alarm { background: var(--alarm); color: var(--alarm-ink);
  border-left: 4px solid var(--alarm-line); border-radius: 4px; margin-top: 1.5rem;
  padding: 0.9rem 1.1rem; overflow-wrap: anywhere; }
.alarm h2 { font-size: 1rem; margin-bottom: 0.3rem; }
.alarm ul { margin: 0; padding-left: 1.1rem; }

.axis { display: grid; grid-template-columns: 15rem 1fr; gap: 0 2.25rem; padding: 1.4rem 0 1rem;
  border-top: 1px solid var(--line); }
.axis:first-of-type { border-top: 0; padding-top: 0.5rem; }
.axis h3 { margin: 0; }
.axis .value { font-size: 1.9rem; font-weight: 600; line-height: 1.2; margin: 0.1rem 0 0; }
.axis .value small { color: var(--soft); font-size: 0.9rem; font-weight: 400; }
.axis p { margin: 0.2rem 0 0; font-size: 0.95rem; }
.scale { margin: 0.55rem 0.7rem 0; }
.poles { display: flex; justify-content: space-between; color: var(--soft); font-size: 0.82rem;
  margin: 0 -0.7rem 0.3rem; }
.track { position: relative; height: 1.1rem; border-radius: 3px; background: var(--card);
  box-shadow: inset 0 0 0 1px var(--line); }
.track i { position: absolute; top: 0; bottom: 0; }
.fill { left: 0; background: var(--band); border-radius: 3px 0 0 3px; }
.range { background: var(--run); height: 3px; margin: auto 0; min-width: 2px; }
.point { width: 0.85rem; height: 0.85rem; margin: auto -0.425rem; border-radius: 50%;
  background: var(--run); box-shadow: 0 0 0 2px var(--paper); }
.ticks { position: relative; height: calc(var(--lanes) * 1.1rem); margin-top: 0.3rem;
  font-size: 0.72rem; line-height: 1.1rem; color: var(--soft); }
.ticks span { position: absolute; top: calc(var(--lane) * 1.1rem); transform: translateX(-50%);
  white-space: nowrap; background: var(--paper); padding: 0 0.1rem; }
.ticks i { position: absolute; top: -0.3rem; height: calc(var(--lane) * 1.1rem + 0.4rem);
  border-left: 1px solid var(--soft); opacity: 0.6; }
.legend { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; margin: 1rem 0 0.75rem; padding: 0;
  list-style: none; color: var(--soft); font-size: 0.85rem; }
.legend b { color: var(--ink); }

.wide { overflow-x: auto; margin: 0.75rem 0 1.5rem; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums;
  min-width: 100%; }
caption { text-align: left; padding-bottom: 0.4rem; }
caption span { display: block; max-width: min(44rem, calc(100vw - 2rem)); }
th, td { text-align: left; vertical-align: top; padding: 0.42rem 1.1rem 0.42rem 0;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: 0.85rem; white-space: nowrap; }
tbody th { font-weight: 500; }
td:last-child, th:last-child { padding-right: 0; }
.numbers td, .numbers thead th:not(:first-child) { text-align: right; white-space: nowrap; }
.numbers td .soft { white-space: normal; }
.metrics caption { color: var(--ink); font-size: 1.02rem; font-weight: 600; }
.metrics tbody th { min-width: 13rem; max-width: 19rem; }
.unknown { color: var(--soft); font-style: italic; white-space: normal; display: inline-block;
  max-width: 14rem; }
td .track { height: 0.6rem; margin-top: 0.4rem; min-width: 7rem; }
td .point { width: 3px; height: auto; margin: -0.15rem -1.5px; border-radius: 0; box-shadow: none; }
.funnel table { min-width: 0; width: 100%; }
.funnel td { width: 42%; }
.funnel tbody th { white-space: nowrap; }
.bar { display: block; height: 0.55rem; border-radius: 2px; margin-top: 0.25rem; min-width: 1px;
  background: var(--run); }
td + td .bar { background: var(--heldout); }
details.soft { margin: 0 0 0.75rem; }
details p { font-size: 0.88rem; font-weight: 400; margin: 0.3rem 0; color: var(--soft); }
summary { cursor: pointer; }
code { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace;
  font-size: 0.86em; overflow-wrap: anywhere; }

figure { margin: 1rem 0 0; max-width: 40rem; }
figure svg { display: block; width: 100%; height: auto; }
svg * { stroke-linejoin: round; } svg text { font-family: inherit !important; }
figcaption { margin-top: 0.4rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
  gap: 1rem 2rem; }

.items { list-style: none; margin: 0.5rem 0 0; padding: 0; display: grid; gap: 0.75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
.items.short { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.5rem; }
.item { background: var(--card); border-radius: 6px; padding: 0.6rem 0.9rem; min-width: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; margin: 0;
  max-width: none; font-family: ui-serif, Georgia, "Noto Serif", serif; }
.notes { display: flex; flex-wrap: wrap; gap: 0 0.8rem; margin: 0.15rem 0 0; color: var(--soft);
  font-size: 0.82rem; }
.empty { color: var(--soft); font-style: italic; }
mark { color: var(--mark); background: var(--copy1); border-radius: 2px; padding: 0.05em 0;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
p:not(.text) > mark { white-space: nowrap; }
.copy2 { background: var(--copy2); } .copy3 { background: var(--copy3); }
.copy4 { background: var(--copy4); }
mark[tabindex] { cursor: help; }
mark[tabindex]:hover::after, mark[tabindex]:focus::after { content: attr(aria-description);
  position: fixed; z-index: 1; left: 50%; bottom: 1rem; transform: translateX(-50%);
  width: min(44rem, calc(100vw - 2rem)); max-height: 40vh; overflow: hidden;
  padding: 0.8rem 1rem; border-radius: 6px; background: var(--ink); color: var(--paper);
  box-shadow: 0 4px 24px #0006; font: 0.92rem/1.5 system-ui, sans-serif; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.pairs { display: grid; gap: 0.75rem; list-style: none; margin: 0.5rem 0 0; padding: 0; }
.pair { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem 1.25rem;
  background: var(--card); border-radius: 6px; padding: 0.7rem 0.9rem; }
.pair h4 { margin: 0; color: var(--soft); font-size: 0.8rem; font-weight: 500; }
img { display: block; max-width: 100%; height: auto; border-radius: 2px;
  box-shadow: 0 0 0 1px var(--line); }
.sound summary { cursor: pointer; list-style: none; } .sound audio { width: 100%; }
.sharp { image-rendering: pixelated; }
.strip { display: flex; flex-wrap: wrap; gap: 4px; }
.strip .flaw { outline: 2px dashed var(--alarm-line); outline-offset: -1px; }
td .strip { flex-wrap: nowrap; } td img { max-width: none; }
.rows { columns: calc(var(--most) * 68px + var(--name) * 1ch + 1rem); column-gap: 2rem;
  list-style: none; margin: 0.5rem 0 0; padding: 0; }
.rows li { display: grid; grid-template-columns: calc(var(--name) * 1ch) minmax(0, 1fr);
  gap: 0.75rem; align-items: center; break-inside: avoid; padding-bottom: 4px; }
.rows b { font-weight: 500; overflow-wrap: anywhere; text-align: right; line-height: 1.2; }
.items.drawn { grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 0.5rem; }
.drawn img + .notes { margin-top: 0.4rem; line-height: 1.35; display: block; }
.drawn .notes span { display: block; }
.pair > .notes { grid-column: 1 / -1; margin: 0; }
.drawn .pair { align-content: start; } .drawn h4 { margin-bottom: 0.25rem; }
.pairs.drawn { grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.protocol { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.15rem 1.5rem;
  font-size: 0.9rem; margin: 0; }
.protocol dt { color: var(--soft); } .protocol dd { margin: 0; overflow-wrap: anywhere; }
body > footer { margin-top: 3.5rem; color: var(--soft); font-size: 0.85rem; }

@media (max-width: 40rem) {
  body { padding: 1.75rem 0 3rem; } body > * { padding: 0 1rem; }
  .lead { font-size: 1.1rem; }
  section { margin-top: 2.5rem; }
  .axis, .pair { grid-template-columns: minmax(0, 1fr); }
  .scale { margin-top: 0.9rem; }
  .items.short { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .drawn .pair { grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem 0.75rem; }
  .rows li { grid-template-columns: min(var(--name) * 1ch, 4.5rem) minmax(0, 1fr); }
  .rows b { font-size: 0.82rem; }
  .drawn h4 { display: flex; align-items: end; height: 2.6em; line-height: 1.3; }
  .protocol { grid-template-columns: minmax(0, 1fr); } .protocol dd { margin-bottom: 0.5rem; }
  .metrics tbody th { min-width: 10rem; }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #f4f5f6; --ink: #000; --soft: #444;
    --line: #bbb; --run: #0b66b5; --band: #a9cdee; --heldout: #00714f; --copies: #b34100;
    --noise: #7a4fa3; --chain: #6b7280; --alarm: #fff; --alarm-ink: #8f1a14; --mark: #000;
    --copy1: #fdf1d0; --copy2: #fbdf9d; --copy3: #f8c766; --copy4: #f2a93b; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  html { font-size: 9pt; } body { padding: 0; } body > * { max-width: none; padding: 0; }
  nav { display: none !important; } section { margin-top: 2rem; }
  .wide { overflow: visible; } .metrics tbody th { max-width: 24rem; }
  .item, .pair, .axis, figure, tr { break-inside: avoid; }
  h2, h3, caption, thead { break-after: avoid; } details p { display: inline; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
