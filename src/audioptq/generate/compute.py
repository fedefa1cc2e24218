"""How the products of a loaded model run: simulated in float, or on integers wherever that works."""

from torch import nn

from audioptq.models.feeds import block_feeds
from audioptq.quantize import QuantRecipe
from audioptq.quantize.integer import fold_smoothing, folds_summary, summary, use_integer


def use_compute(network: nn.Module, recipe: QuantRecipe, wanted: str) -> tuple[str, dict[str, str], str]:
    """Puts the network into the wanted form, as far as this machine can.

    In layers that multiply integers, static smoothing is folded into what makes their input, wherever that is exact. The simulated
    form stays the plain one. No file describes folded layers: save a model before.

    Args:
        network: Of a loaded model, on its device.
        recipe: The model's.
        wanted: `simulated`, or `integer`.

    Returns:
        What really runs: `integer` only if every quantized layer multiplies integers, else what the recipe says of
        itself (`float` or `simulated`); the backend of each layer that does; and a line for the log.
    """
    if wanted != "integer":
        return recipe.compute, {}, f"compute {recipe.compute}"
    report = use_integer(network)
    is_whole = len(report) > 0 and bool(report["backend"].notna().all())
    label = "integer" if is_whole else recipe.compute
    backends = report.dropna(subset="backend").set_index("layer")["backend"].to_dict()
    folds = fold_smoothing(network, block_feeds(network), backends)
    line = f"compute {label}: {summary(report)}"
    return label, backends, f"{line}; {folds_summary(folds)}" if len(folds) else line
