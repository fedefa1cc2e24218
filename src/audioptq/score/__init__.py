"""Scores: one module per statistic, long tables, and the bootstrap that gives each number its interval.

Metrics are pure functions of arrays, keyword-only: `target` is what is compared with (a prompt, reference audio or
full precision's own clips), `generated` is the recipe's output. `table.METRICS` lists them; `run.score_metrics` computes those
of one recipe and seed.
"""
