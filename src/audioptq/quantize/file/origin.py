"""How a quantized model was made, as its file records it."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from audioptq.files.artifacts import digest


def origin(
    model: str, config: Mapping[str, Any], layers: pd.DataFrame, sampler: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The metadata that go with a quantized model.

    Args:
        model: Its name.
        config: Its configuration, from which it is built again.
        layers: The table of `quantize_model`.
        sampler: Settings of the sampler that it was calibrated with; None if it was not.

    Returns:
        `model`, `model_config`, `model_digest`, `sampler` and `sqnr_db`: of the quantized layers, in the order of their names,
        None where there was no noise.
    """
    quantized = layers[layers["quantized"]].sort_values("layer")
    return {
        "model": model,
        "model_config": dict(config),
        "model_digest": digest(config),
        "sampler": None if sampler is None else dict(sampler),
        "sqnr_db": [round(value, 2) if math.isfinite(value) else None for value in quantized["sqnr_db"].astype(float)],
    }
