"""Scores: one file per metric, long tables, and the bootstrap that gives each number its interval.

Metrics are pure functions of arrays, keyword-only: `target` is what is compared with (a prompt, reference audio or
the baseline), `generated` is the recipe's output. `table.METRICS` lists them; `run.score_metric` computes one of them.
"""
