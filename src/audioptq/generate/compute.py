"""How the products of a loaded model run: simulated in float, or on integers wherever that works."""

from torch import nn

from audioptq.machine.memory import available_bytes, gigabytes, require_memory
from audioptq.models.stable_audio.feeds import block_feeds
from audioptq.quantize import QuantRecipe
from audioptq.quantize.integer import (
    fold_smoothing,
    folds_summary,
    layers_to_fold,
    packed_anew,
    summary,
    use_integer,
)

# Whether integer products on a CPU keep large weights as their kernel wants them.
KEEP_WEIGHTS = ("never", "auto", "always")
# Of the memory that is available, what `auto` takes at most: activations and the decoder need some, other processes too.
SHARE_KEPT = 0.5


def use_compute(
    network: nn.Module, recipe: QuantRecipe, wanted: str, keep_weights: str = "never"
) -> tuple[str, dict[str, str], str]:
    """Puts the network into the wanted form, as far as this machine can.

    In layers whose backend divides by a smoothing vector in a pass of its own, a static one is folded into what makes their input,
    wherever that is exact. The simulated form stays the plain one. No file describes folded layers: save a model before.

    Args:
        network: Of a loaded model, on its device.
        recipe: The model's.
        wanted: `simulated`, or `integer`.
        keep_weights: Of `KEEP_WEIGHTS`; results are the same to the bit.

    Returns:
        What really runs: `integer` only if every quantized layer multiplies integers, else what the recipe says of
        itself (`float` or `simulated`); the backend of each layer that does; and a line for the log.

    Raises:
        UserError: If weights shall always be kept, and there is not enough memory.
    """
    if wanted != "integer":
        return recipe.compute, {}, f"compute {recipe.compute}"
    report = use_integer(network)
    is_whole = len(report) > 0 and bool(report["backend"].notna().all())
    label = "integer" if is_whole else recipe.compute
    backends = report.dropna(subset="backend").set_index("layer")["backend"].to_dict()
    folds = fold_smoothing(network, block_feeds(network), layers_to_fold(report))
    lines = [f"compute {label}: {summary(report)}"]
    if len(folds):
        lines.append(folds_summary(folds))
    if keep_weights != "never":
        lines.append(_keep(network, is_asked=keep_weights == "always"))
    return label, backends, "; ".join(lines)


def _keep(network: nn.Module, *, is_asked: bool) -> str:
    """Keeps packed weights if that is asked for or takes little of the memory; says what was chosen, and why."""
    layers = packed_anew(network)
    if not layers:
        return "no layer packs its weight at each call"
    n_bytes = sum(layer.out_features * layer.in_features for layer in layers)
    if is_asked:
        require_memory(n_bytes, f"Keeping packed weights of {len(layers)} layers", "let them be packed at each call")
    available = available_bytes()
    if not is_asked and (available is None or n_bytes > SHARE_KEPT * available):
        why = (
            "how much memory is available is not known"
            if available is None
            else f"that is more than half of the {gigabytes(available)} available"
        )
        return f"weights of {len(layers)} layers packed at each call, not kept in {gigabytes(n_bytes)}: {why}"
    for layer in layers:
        layer.keep = True
    room = "" if available is None else f" of the {gigabytes(available)} available"
    return f"packed weights of {len(layers)} layers kept in {gigabytes(n_bytes)}{room}"
