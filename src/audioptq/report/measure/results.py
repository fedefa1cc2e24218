"""What was found, before it is written or drawn."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from audioptq.report.measure.aggregate import Estimate
from audioptq.report.measure.published import PublishedRow, Reproduction
from audioptq.report.page.formats import Group
from audioptq.score.table import MetricInfo


@dataclass(frozen=True)
class Results:
    """The numbers of a report.

    Attributes:
        prompts: The prompts table.
        scores: Every score row, those of the noise floor too.
        manifest: Every clip, those of the noise floor too.
        metrics: Metrics that some recipe has, in the registry's order.
        sizes: Size records by recipe.
        table: One row per recipe.
        floors: By metric, what another seed of the baseline does.
        comparisons: One row per recipe and metric.
        excluded: Clips that no average contains.
        groups: Columns of the table as they are shown.
        published: Rows of other people's tables.
        reproductions: Our full precision against every published number of it.
    """

    prompts: pd.DataFrame
    scores: pd.DataFrame
    manifest: pd.DataFrame
    metrics: dict[str, MetricInfo]
    sizes: dict[str, dict[str, Any]]
    table: pd.DataFrame
    floors: dict[str, Estimate]
    comparisons: pd.DataFrame
    excluded: pd.DataFrame
    groups: list[Group]
    published: list[PublishedRow]
    reproductions: list[Reproduction]

    @property
    def decimals(self) -> dict[str, int]:
        """Decimals of each shown column."""
        return {column.name: column.decimals for group in self.groups for column in group.columns}
