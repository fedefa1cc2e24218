"""The table as people read it: which columns, in which groups, and their Markdown and LaTeX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.report.measure.published import PublishedRow, sources_note
from audioptq.report.measure.table import DASH, MINUS, TIMES, Column, decimals_for, format_number, marks
from audioptq.score.table import MetricInfo

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", MINUS: "$-$", DASH: "--", TIMES: r"$\times$", '"': r"\textquotedbl{}",
    "\N{DOUBLE VERTICAL LINE}": r"$\Vert$",
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Cell:
    """One shown cell: text, interval (empty when there is none), `best`, `second` or neither, and a key to sort by."""

    text: str
    interval: str = ""
    mark: str = ""
    sort: Any = None


def measured_groups(table: pd.DataFrame, metrics: Mapping[str, MetricInfo]) -> list[Group]:
    """Groups of measured columns that `table` has: quality, distance to full precision, size, speed.

    Metrics of `metrics` that no recipe has are left out.
    """
    quality: list[Column] = []
    distance: list[Column] = []
    for metric, info in metrics.items():
        if metric not in table:
            continue
        paired = info.target == "baseline"
        unit = "" if info.unit in ("", "1") else info.unit
        column = Column(
            metric,
            info.label,
            unit,
            info.higher_is_better,
            decimals_for(table, metric),
            interval=True,
            is_distance=paired,
        )
        (distance if paired else quality).append(column)
    groups = [
        Group("Quality", tuple(quality)),
        Group("Distance to full precision", tuple(distance)),
        Group("Size", (Column("size_mb", "Size", "MB", False), Column("size_ratio", "Size ratio", "", None, 3))),
        Group(
            "Speed",
            (
                Column("seconds_per_clip", "Time", "s/clip", False, 3, interval=True, is_time=True),
                Column("speedup", "Speed-up", "", True, interval=True, is_time=True),
            ),
        ),
    ]
    return [group for group in groups if any(_values(table, column).notna().any() for column in group.columns)]


def _values(table: pd.DataFrame, column: Column) -> pd.Series:
    source = table["size_bytes"].astype("Float64") / 1e6 if column.name == "size_mb" else table[column.name]
    return pd.Series(pd.to_numeric(source).to_numpy(float, na_value=float("nan")), index=table.index)


def shown_cells(table: pd.DataFrame, columns: Sequence[Column], baseline: str) -> dict[str, dict[str, Cell]]:
    """Cells by column name and recipe.

    Two rankings leave rows out: distances the baseline, which is at distance zero from itself, and times the simulated
    recipes, whose time says nothing of integer arithmetic.
    """
    shown = {}
    for column in columns:
        values = _values(table, column)
        ranked = table.assign(**{column.name: values})
        if column.is_distance:
            ranked = ranked[ranked["recipe"] != baseline]
        if column.is_time:
            ranked = ranked[ranked["compute"] != "simulated"]
        mark = marks(ranked, column)
        cells = {}
        for index, recipe in table["recipe"].items():
            low, high = (
                table.at[index, f"{column.name}{end}"] if column.interval else None for end in ("_low", "_high")
            )
            known = low is not None and not pd.isna(low) and not pd.isna(high)
            interval = (
                f"{format_number(low, column.decimals)} to {format_number(high, column.decimals)}" if known else ""
            )
            sort = None if pd.isna(values[index]) else float(values[index])
            cells[str(recipe)] = Cell(
                format_number(values[index], column.decimals), interval, mark.get(str(recipe), ""), sort
            )
        shown[column.name] = cells
    return shown


def bits(row: Mapping[str, Any]) -> str:
    """Weight and activation bits as in `W8A8`."""
    return f"W{row['weight_bits']}A{row['act_bits']}"


def rows_of(table: pd.DataFrame, published: Sequence[PublishedRow]) -> list[dict[str, Any] | PublishedRow]:
    """Rows of the table, each followed by the published ones of the same recipe; those of no recipe of ours come last."""
    rows: list[dict[str, Any] | PublishedRow] = []
    for row in table.to_dict("records"):
        rows += [row, *(other for other in published if other.recipe == row["recipe"])]
    return [*rows, *(other for other in published if other.recipe not in set(table["recipe"]))]


def to_markdown(
    table: pd.DataFrame,
    groups: Sequence[Group],
    baseline: str,
    note: str,
    published: Sequence[PublishedRow] = (),
    head: Sequence[str] = (),
) -> str:
    """A Markdown table: value with its interval in small type, best in bold, second best underlined, `note` below.

    Published rows stand below ours of the same recipe and are not ranked; the paragraphs of `head` stand above the table.
    """
    columns = [column for group in groups for column in group.columns]
    shown = shown_cells(table, columns, baseline)
    heading = ["Recipe", "Bits", "Compute", *(column.heading for column in columns), "Clips"]
    lines = [heading, ["---", "---", "---", *("---:" for _ in columns), "---:"]]
    for row in rows_of(table, published):
        if isinstance(row, PublishedRow):
            texts = [row.text(column.name) for column in columns]
            lines.append([_markdown_text(row.recipe), DASH, row.mark, *texts, DASH])
            continue
        cells = (shown[column.name][row["recipe"]] for column in columns)
        texts = [_markdown_cell(cell) for cell in cells]
        lines.append([_markdown_text(row["recipe"]), bits(row), row["compute"], *texts, str(row["n_clips"])])
    above = "".join(f"{_markdown_text(paragraph)}\n\n" for paragraph in head)
    below = " ".join(filter(None, [note, _markdown_text(sources_note(published))]))
    return above + "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{below}\n"


def _markdown_cell(cell: Cell) -> str:
    text = {"best": f"**{cell.text}**", "second": f"<u>{cell.text}</u>"}.get(cell.mark, cell.text)
    return f"{text} <sub>{cell.interval}</sub>" if cell.interval else text


def _markdown_text(text: str) -> str:
    escaped = (
        re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
    return escaped.replace("\r", " ").replace("\n", " ")


def latex_escape(text: str) -> str:
    """Text with every character that LaTeX would act on made literal."""
    return "".join(_LATEX.get(character, character) for character in text.replace("\n", " "))


def to_latex(
    table: pd.DataFrame, groups: Sequence[Group], baseline: str, note: str, published: Sequence[PublishedRow] = ()
) -> str:
    """A `table*` for `booktabs`, columns grouped, best in bold, second best underlined, intervals in tiny type."""
    columns = [column for group in groups for column in group.columns]
    shown = shown_cells(table, columns, baseline)
    heads, rules, first = ["", "", ""], [], 4
    names = ["Recipe", "Bits", "Compute", *(latex_escape(column.heading) for column in columns), "Clips"]
    for group in groups:
        last = first + len(group.columns) - 1
        heads.append(rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{latex_escape(group.title)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{last}}}")
        first = last + 1
    lines = [
        "% Needs \\usepackage{booktabs}, \\usepackage{graphicx} and \\usepackage[T1]{fontenc}.",
        r"\begin{table*}[t]", r"\centering", r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{lll{'r' * len(columns)}r}}", r"\toprule",
        " & ".join([*heads, ""]) + r" \\", " ".join(rules),
        " & ".join(names) + r" \\",
        r"\midrule",
    ]  # fmt: skip
    for row in rows_of(table, published):
        if isinstance(row, PublishedRow):
            texts = [latex_escape(row.text(column.name)) for column in columns]
            lines.append(" & ".join([latex_escape(row.recipe), "--", row.mark, *texts, "--"]) + r" \\")
            continue
        texts = [_latex_cell(shown[column.name][row["recipe"]]) for column in columns]
        lines.append(
            " & ".join([latex_escape(row["recipe"]), bits(row), row["compute"], *texts, str(row["n_clips"])]) + r" \\"
        )
    below = " ".join(filter(None, [note, sources_note(published)]))
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{latex_escape(below)}}}", r"\end{table*}"]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = latex_escape(cell.text)
    text = {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(cell.mark, text)
    return text + (rf" {{\tiny {latex_escape(cell.interval)}}}" if cell.interval else "")
