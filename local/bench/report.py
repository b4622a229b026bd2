"""The figures as a table in the terminal and as a page with plots."""

import html
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pygal  # type: ignore[import-untyped]
from pygal.style import CleanStyle  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Column, Table

from local.bench.measure import Row, Section

# pygal hooks into imports for plugins, which we have none of, in a way that Python 3.12 takes no more.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__name__ != "PluginImportFixer"]

_WIDTH = 140  # where no terminal has one
_HEAD = ("what", "measured", "ratio", "quartiles", "of", "must", "aim")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>GetSmart Token API: benchmarks</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #0f172a }}
table {{ border-collapse: collapse; width: 100% }} svg {{ max-width: 100% }}
th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e2e8f0 }}
td.no {{ color: #b91c1c; font-weight: 600 }} td.yes {{ color: #15803d }}
</style>
<h1>Benchmarks</h1><p>{when}. Ratios within one run: medians, with quartiles.</p>
{sections}
</html>
"""


def show(section: Section) -> None:
    """Print one section."""
    table = Table(Column("what", no_wrap=True), *_HEAD[1:], title=section.title, title_justify="left")
    for row in section.rows:
        style = {True: "green", False: "bold red", None: ""}[row.holds]
        what, measured, *others = cells(row)
        table.add_row(what, measured, f"[{style}]{others[0]}[/]" if style else others[0], *others[1:])
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of the table's head."""
    numbers = (row.ratio, row.must, row.aim)
    ratio, must, aim = ("" if one is None else f"{one:.2f}" if one < 10 else f"{one:.0f}" for one in numbers)
    spread = "" if row.spread is None else f"{row.spread[0]:.2f} to {row.spread[1]:.2f}"
    bound = "at least " if row.more_is_better else ""
    measured = f"{row.measured} ({row.note})" if row.note else row.measured
    return row.what, measured, ratio, spread, row.unit, must and bound + must, aim and bound + aim


def write(sections: Sequence[Section], file: Path) -> None:
    """Write the page."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_PAGE.format(when=when, sections="\n".join(map(_section, sections))), encoding="utf-8")


def _section(section: Section) -> str:
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    body = "".join(map(_line, section.rows))
    plots = [*([_spread(section)] if section.samples else []), *([_lines(section)] if section.series else [])]
    return f"<h2>{html.escape(section.title)}</h2><table><tr>{head}</tr>{body}</table>{''.join(plots)}"


def _line(row: Row) -> str:
    mark = {True: ' class="yes"', False: ' class="no"', None: ""}[row.holds]
    texts = [html.escape(text) for text in cells(row)]
    return (
        "<tr>" + "".join(f"<td{mark if place == 2 else ''}>{text}</td>" for place, text in enumerate(texts)) + "</tr>"
    )


def _spread(section: Section) -> str:
    """A box for each series of samples."""
    chart = pygal.Box(style=CleanStyle, js=(), y_title="milliseconds", legend_at_bottom=True, height=420)
    for name, samples in section.samples.items():
        chart.add(name, [one * 1_000 for one in samples])
    return _svg(chart)


def _lines(section: Section) -> str:
    x, y = section.axes
    chart = pygal.XY(style=CleanStyle, js=(), x_title=x, y_title=y, legend_at_bottom=True, xrange=None, height=420)
    for series in section.series:
        chart.add(series.name, list(series.points))
    return _svg(chart)


def _svg(chart: pygal.Graph) -> str:
    return str(chart.render(is_unicode=True, disable_xml_declaration=True))
