"""Draw what a terminal showed as SVG: `python docs/picture.py FILE > picture.svg` (FILE may hold colours).

Rich draws SVG itself from version 12.3 on; EnOSlib pins an older one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import TerminalTheme

COLUMN = 8.43
LINE = 19.0
MARGIN = 18.0
BAR = 34.0
"""Sizes in pixels, for a fixed-width font of 14 pixels."""
NO_BREAK = "\N{NO-BREAK SPACE}"
"""In place of blanks, which SVG takes together."""

COLOURS = TerminalTheme(
    (30, 34, 42),
    (220, 223, 228),
    [
        (64, 70, 84), (224, 108, 117), (140, 200, 120), (229, 192, 123),
        (97, 175, 239), (198, 120, 221), (86, 182, 194), (220, 223, 228),
    ],
    [
        (110, 118, 135), (240, 130, 138), (165, 220, 145), (240, 208, 145),
        (130, 195, 250), (215, 150, 235), (120, 205, 215), (255, 255, 255),
    ],
)  # fmt: skip
"""Background, text, then black, red, green, yellow, blue, magenta, cyan, white: normal and bright."""

FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{title}">
<rect width="100%" height="100%" rx="8" fill="{background}"/>
<circle cx="22" cy="18" r="6" fill="#ff5f57"/><circle cx="42" cy="18" r="6" fill="#febc2e"/>\
<circle cx="62" cy="18" r="6" fill="#28c840"/>
<text x="50%" y="23" text-anchor="middle" fill="{foreground}" font-family="sans-serif" font-size="13">{title}</text>
<g font-family="'DejaVu Sans Mono',Menlo,Consolas,monospace" font-size="14" xml:space="preserve">
{text}
</g>
</svg>
"""


def draw(text: str, *, title: str) -> str:
    """The SVG of `text`, as wide as its longest line."""
    console = Console(width=1000)
    lines = [
        list(console.render(line, console.options.update(no_wrap=True, overflow="ignore")))
        for line in AnsiDecoder().decode(text.rstrip())
    ]
    columns = max(sum(cell_len(segment.text.rstrip("\n")) for segment in line) for line in lines)
    body = [part for number, line in enumerate(lines) for part in _line(line, BAR + LINE * (number + 1))]
    return FRAME.format(
        width=2 * MARGIN + columns * COLUMN,
        height=BAR + LINE * len(lines) + MARGIN,
        title=escape(title),
        background=COLOURS.background_color.hex,
        foreground=COLOURS.foreground_color.hex,
        text="\n".join(body),
    )


def _line(segments: list[Segment], y: float) -> Iterator[str]:
    column = 0
    for segment in segments:
        text = segment.text.rstrip("\n")
        width = cell_len(text)
        if text.strip():
            # textLength keeps the columns in line, whichever font the reader has.
            yield (
                f'<text x="{MARGIN + column * COLUMN:.2f}" y="{y:.0f}" textLength="{width * COLUMN:.2f}"'
                f"{_paint(segment.style or Style())}>{escape(text.replace(' ', NO_BREAK), quote=False)}</text>"
            )
        column += width


def _paint(style: Style) -> str:
    colour = style.color.get_truecolor(COLOURS) if style.color else COLOURS.foreground_color
    weight = ' font-weight="bold"' if style.bold else ""
    faint = ' opacity="0.6"' if style.dim else ""
    return f' fill="{colour.hex}"{weight}{faint}'


if __name__ == "__main__":
    source = Path(sys.argv[1])
    sys.stdout.write(draw(source.read_text(encoding="utf-8"), title=source.stem))
