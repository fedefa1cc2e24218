"""The written forms of the report: Markdown, LaTeX, and one page that opens offline, with everything in a single file."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from audioptq.report.figures.style import INK, PAPER, RULE
from audioptq.report.formats import DASH, MINUS, TIMES, Cell, Group, bits, shown_cells
from audioptq.report.measure.published import PublishedRow, sources_note

_SOURCES = files("audioptq.report.page")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", MINUS: "$-$", DASH: "--", TIMES: r"$\times$", '"': r"\textquotedbl{}",
    "\N{DOUBLE VERTICAL LINE}": r"$\Vert$",
}  # fmt: skip


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


def render_page(page: Mapping[str, Any]) -> str:
    """Fills the template; every text is escaped, save style, script and drawings, which are this package's own.

    Raises:
        jinja2.UndefinedError: If `page` lacks a value that the template needs.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_SOURCES.joinpath("report.html.j2").read_text(encoding="utf-8"))
    own = {name: Markup(_SOURCES.joinpath(f"report.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return template.render(page={**page, **own}).lstrip()


def inline_svg(path: str | Path) -> Markup:
    """The `<svg>` element of a drawing for use inside a page.

    Ids are prefixed with the file's name, since a page holds several drawings; ink, rules and paper become the page's
    own colours, so that the drawing follows a dark page.
    """
    text = Path(path).read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    prefix = re.sub(r"\W", "-", Path(path).stem)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    for colour, replacement in ((INK, "currentColor"), (RULE, "var(--rule)"), (PAPER, "var(--paper)")):
        text = re.sub(re.escape(colour), replacement, text, flags=re.IGNORECASE)
    # Without width and height the drawing takes the width that the page gives it; viewBox keeps its shape.
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    # The drawing was written by this package, and matplotlib draws the names in it as outlines: no text is left to act.
    return Markup(f"{head}>{rest}")
