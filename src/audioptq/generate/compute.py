"""How the products of a loaded model run: simulated in float, or on integers wherever that works."""

from torch import nn

from audioptq.quantize import QuantRecipe
from audioptq.quantize.integer import summary, use_integer


def use_compute(network: nn.Module, recipe: QuantRecipe, wanted: str) -> tuple[str, dict[str, str], str]:
    """Puts the network into the wanted form, as far as this machine can.

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
    return label, backends, f"compute {label}: {summary(report)}"
