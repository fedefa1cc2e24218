"""Builds the whole report from its inputs: the only function that the workflow calls."""

from pathlib import Path

import pandas as pd

from audioptq.files.artifacts import write_json, write_parquet, write_text
from audioptq.report.figures.draw import draw_figures
from audioptq.report.measure.inputs import ReportInputs
from audioptq.report.measure.published import summary, warning
from audioptq.report.measure.results import gather
from audioptq.report.measure.table import main_numbers, to_csv
from audioptq.report.page.contents import page_values, table_note
from audioptq.report.page.render import render_page, to_latex, to_markdown
from audioptq.report.page.sentences import answers, cautions, findings


def build_report(inputs: ReportInputs, output_dir: str | Path) -> pd.DataFrame:
    """Writes `table.csv`, `.md` and `.tex`, `comparisons.csv`, `metrics.json`, `scores.parquet`, `figures/*.svg` and `report.html`.

    Returns:
        The table.

    Raises:
        UserError: If an input is damaged, contradicts another, or the baseline is absent.
    """
    output_dir = Path(output_dir)
    results = gather(inputs)
    table, groups = results.table, results.groups
    published = results.published
    note = " ".join([table_note(inputs, results), *cautions(table, results.metrics, inputs.noise_floor_seed)])
    found, baseline = results.reproductions, inputs.baseline
    boxes = findings(table, results.comparisons, baseline)
    head = [*filter(None, [summary(found, results.decimals, baseline), warning(found, baseline)]), *answers(boxes)]
    write_text(output_dir / "table.csv", to_csv(table))
    write_text(output_dir / "comparisons.csv", to_csv(results.comparisons))
    write_json(output_dir / "metrics.json", main_numbers(table, results.metrics), sealed=False)
    write_text(output_dir / "table.md", to_markdown(table, groups, inputs.baseline, note, published, head))
    write_text(output_dir / "table.tex", to_latex(table, groups, inputs.baseline, " ".join([*head, note]), published))
    write_parquet(output_dir / "scores.parquet", results.scores, {"model": inputs.model, "n_files": len(inputs.scores)})
    figures = draw_figures(inputs, results, output_dir / "figures")
    write_text(output_dir / "report.html", render_page(page_values(inputs, results, figures)))
    return table
