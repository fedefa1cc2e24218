"""The table of prompts, and the subset that calibration uses."""

import hashlib
import math

import pandas as pd

from audioptq.errors import UserError

COLUMNS = (
    "clip_id",
    "caption",
    "reference_id",
    "reference_path",
    "reference_sha256",
    "seconds_total",
    "kind",
    "labels",
)


def validate(prompts: pd.DataFrame, source: str) -> pd.DataFrame:
    """Returns `prompts` with the contract's columns in order.

    Args:
        prompts: `clip_id` (unique), `caption`, `reference_id`, `reference_path` or null, `seconds_total`, `kind` or null,
            `labels` ("siren|rain") or null.
        source: Where they come from, for the error.

    Raises:
        UserError: If there are none, an id or caption is empty, an id occurs twice, or a length is not above zero.
    """
    if prompts.empty:
        raise UserError(f"{source} holds no prompts.")
    for column in ("clip_id", "caption", "reference_id"):
        empty = prompts.index[prompts[column].fillna("").astype(str).str.strip() == ""]
        if len(empty):
            raise UserError(
                f"{source}: {column} is empty in row {empty[0] + 1} (and {len(empty) - 1} more, counted without the header). "
                "Fill it in or remove the row."
            )
    repeated = prompts["clip_id"][prompts["clip_id"].duplicated()]
    if len(repeated):
        raise UserError(
            f"{source}: the clip_id {repeated.iloc[0]!r} occurs more than once ({len(repeated)} repeats in all). Noise and results "
            "are kept by clip_id, so each must be unique: remove the repeats, or name another column as clip_id."
        )
    seconds = prompts["seconds_total"].astype(float)
    if not seconds.map(math.isfinite).all() or (seconds <= 0).any():
        raise UserError(f"{source}: seconds_total must be above zero in every row.")
    return prompts.reindex(columns=list(COLUMNS)).reset_index(drop=True)


def random_subset(prompts: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """A random subset of `n` prompts, the same on every machine and whatever the order of the rows.

    A prompt's rank is SHA-256 of "seed:clip_id".

    Raises:
        UserError: If there are fewer than `n`.
    """
    if not 1 <= n <= len(prompts):
        raise UserError(
            f"{n} prompts are asked for, and there are {len(prompts)}: set the number between 1 and {len(prompts)}."
        )
    rank = prompts["clip_id"].map(lambda clip_id: hashlib.sha256(f"{seed}:{clip_id}".encode()).hexdigest())
    return prompts.iloc[rank.argsort(kind="stable")[:n]].reset_index(drop=True)
