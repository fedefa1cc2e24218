"""Writes what a listening test shows: a section in HTML and in Markdown, the figure, the judgements, everything as JSON."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audioptq.files.artifacts import write_json, write_parquet, write_text
from audioptq.listen.analyse.figure import draw
from audioptq.listen.analyse.findings import Findings
from audioptq.listen.analyse.sentences import rows, summary, who
from audioptq.report.measure.table import to_csv

STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.55 system-ui,sans-serif;max-width:46rem;margin:32px auto;padding:0 16px}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:4px 12px;text-align:right;"
    "border-bottom:1px solid #8886}th:first-child,td:first-child{text-align:left}img{max-width:100%;background:#fffffe}"
    "blockquote{margin:8px 0;padding-left:12px;border-left:3px solid #8886;overflow-wrap:anywhere}"
)


def write(found: Findings, folder: str | Path) -> None:
    """Writes `listening.html`, `listening.md`, `listening.svg`, `listening.json`, `judgements.parquet` and `judgements.csv`.

    Names and comments stand in the first two as text that is neither markup nor code, and in the CSV as no formula; in the
    parquet and the JSON they are as they came.
    """
    folder = Path(folder)
    record = found.record
    mode = found.key.mode
    records = record["recognition"] or record["variants"]
    if records:
        draw(folder / "listening.svg", mode, records, who(record))
    write_parquet(folder / "judgements.parquet", found.judgements, {"test": found.key.test, "mode": mode})
    write_text(folder / "judgements.csv", to_csv(found.judgements))
    write_json(folder / "listening.json", record)
    write_text(folder / "listening.md", markdown(record, has_figure=bool(records)))
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Listening test</title><style>{STYLE}</style></head>'
    write_text(
        folder / "listening.html", f"{page}<body>{html_section(record, has_figure=bool(records))}</body></html>\n"
    )


def html_section(record: Mapping[str, Any], has_figure: bool = True, figure: str = "listening.svg") -> str:
    """The section of a page that says what a listening test shows.

    Args:
        record: Of `Findings`.
        has_figure: Whether there is one.
        figure: Its address.
    """
    header, body = rows(record)
    parts = ['<section class="listening"><h2>Listening test</h2>']
    parts += [f"<p>{html.escape(line)}</p>" for line in summary(record)]
    if has_figure:
        parts.append(f'<figure><img src="{html.escape(figure)}" alt="The table below as bars"></figure>')
    parts.append(_html_row(header, "th") + "".join(_html_row(row, "td") for row in body))
    parts[-1] = f"<table>{parts[-1]}</table>"
    for title, entries in _lists(record).items():
        if entries:
            parts.append(f"<h3>{title}</h3>")
            parts += [f"<blockquote>{html.escape(text)}</blockquote>" for text in entries]
    return "\n".join(parts) + "</section>"


def markdown(record: Mapping[str, Any], has_figure: bool = True) -> str:
    """The same section as Markdown."""
    header, body = rows(record)
    lines = ["## Listening test", "", *(f"- {line}" for line in summary(record)), ""]
    if has_figure:
        lines += ["![The table below as bars](listening.svg)", ""]
    lines += [_markdown_row(header), _markdown_row(["---"] * len(header)), *map(_markdown_row, body), ""]
    for title, entries in _lists(record).items():
        if entries:
            lines += [f"### {title}", "", *(f"- {markdown_text(text)}" for text in entries), ""]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    r"""Text from a stranger as Markdown that shows it and does nothing: no markup, no links, one line.

    Example:
        >>> markdown_text("<b>*hi*")
        '&lt;b&gt;\\*hi\\*'
    """
    return re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _lists(record: Mapping[str, Any]) -> dict[str, list[str]]:
    comments = [f"{entry['name'] or entry['listener']}: {entry['comment']}" for entry in record["comments"]]
    return {
        "Comments of listeners": comments,
        "Not counted": [entry["why"] for entry in record["refused"]],
        "Set aside": [
            f"{entry['source']} (listener {entry['listener']}): {entry['why']}" for entry in record["set_aside"]
        ],
    }


def _html_row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
