"""How figures are drawn and written: the same bytes each time, colours that most eyes tell apart, and markers too."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#000000", "#CC8400", "#4AA5D8", "#7A5C3E")
"""Okabe and Ito's, the light ones darkened so that a line of each reads on white."""
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "<")
DASHES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
INK, FAINT, GRID = "#1a1a1a", "#595959", "#d9d9d9"
WIDTH_IN, HEIGHT_IN = 4.6, 3.1
"""Narrow enough that letters can be read when a phone shows it in full."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "enos_crdb",
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and is small
    "pdf.fonttype": 3,  # 42 embeds through fontTools, four times slower
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "figure.constrained_layout.use": True,
    "axes.formatter.useoffset": False,
}


@dataclass(frozen=True)
class Look:
    """How one series looks in all figures of a page."""

    colour: str
    marker: str
    dash: str


def look(index: int) -> Look:
    """The look of the `index`-th series; colours come again after eight, then with another dash and marker."""
    turn = index // len(COLOURS)
    place = (index + turn) % len(COLOURS)
    return Look(COLOURS[index % len(COLOURS)], MARKERS[place], DASHES[(place + turn) % len(DASHES)])


def canvas(*, width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> tuple[Drawing, Axes]:
    """A drawing with one pair of axes. Call inside `styled`."""
    drawing = blank(width_in=width_in, height_in=height_in)
    return drawing, drawing.add_subplot()


def blank(*, width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> Drawing:
    """A drawing without axes; pyplot is left alone, as it keeps every figure and may want a screen."""
    from matplotlib.figure import Figure as Drawing

    return Drawing(figsize=(width_in, height_in), layout="constrained")


def styled() -> Any:
    """The context in which everything is drawn and written."""
    import matplotlib

    settings: dict[Any, Any] = {**matplotlib.rcParamsDefault}  # not those of the user's own file
    return matplotlib.rc_context(settings | STYLE | {"backend": "agg"})


def legend(drawing: Drawing, axes: Axes, *, columns: int = 1) -> None:
    """The legend below the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        drawing.legend(handles, labels, loc="outside lower left", ncols=columns, handlelength=2.6, borderaxespad=0.2)


def legend_height_in(count: int, columns: int = 1) -> float:
    """What a legend of `count` entries adds to a drawing's height."""
    return 0.185 * -(-count // columns) + 0.08


def plain_ticks(axis: Any) -> None:
    """Numbers as people write them (0.5, 20, 3000) on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if value < 1e5 else f"{value:.0e}"))
    axis.set_minor_locator(NullLocator())  # dozens of marks that cost time and tell nothing


def svg(drawing: Drawing) -> bytes:
    """The drawing as a file of its own. The canvas is asked itself: `savefig` draws everything twice."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": "enos_crdb"}
    FigureCanvasSVG(drawing).print_svg(stream, metadata=metadata)  # type: ignore[no-untyped-call]
    drawing.set_layout_engine("none")  # everything has its place now; finding it again for the PDF costs as much again
    return stream.getvalue()


def pdf(drawing: Drawing) -> bytes:
    """The drawing as a page of a document; after `svg`, which puts everything in its place."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    stream = io.BytesIO()
    metadata = {"CreationDate": None, "Creator": "enos_crdb", "Producer": "enos_crdb"}
    FigureCanvasPdf(drawing).print_pdf(stream, metadata=metadata)  # type: ignore[no-untyped-call]
    return stream.getvalue()


def inline(picture: bytes, name: str, alternative: str) -> str:
    """An SVG file as an element of a page: its identifiers made unique, nothing that names another place."""
    text = picture.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    head = f'<svg role="img" aria-label="{alternative}" viewBox="0 0 {width} {height}" width="{width}pt" '
    return re.sub(r"<svg[^>]*>", f'{head}height="{height}pt" version="1.1">', text, count=1).strip()
