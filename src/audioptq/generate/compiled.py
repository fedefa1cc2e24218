"""Torch's compiler over the transformer blocks of a step whose linear layers multiply integers."""

from audioptq.errors import UserError
from audioptq.models.stable_audio.adapter import StableAudioModel
from audioptq.quantize import QuantLinear
from audioptq.quantize.integer import IntegerLinear

# Records the GPU's work of a pass once, and plays it back: what CUDA graphs are called in torch's compiler.
RECORDED = "reduce-overhead"


def compile_blocks(model: StableAudioModel) -> str:
    """Compiles the stack of transformer blocks, in place, at the next step; the last thing to be done to a loaded model.

    Each quantized layer stays one operator, so that its integers are those of the plain form wherever its input is; what is
    between layers rounds differently. Every size of input is compiled by itself, for half a minute or more. Keys and values of
    the prompt are computed at each step, since what is kept between steps is no part of a graph. On CUDA a step is recorded,
    unless a layer's weight changes with the timestep: a record would play the first one again.

    Args:
        model: With `use_compute(..., "integer")` done, on its device.

    Returns:
        What was done, for a log.

    Raises:
        UserError: If a quantized layer is simulated; the text says how many are.
    """
    from audioptq.quantize.integer.compiler_op import make_opaque  # here, since no other job wants torch's operators

    quantized = [layer for layer in model.network.modules() if isinstance(layer, QuantLinear)]
    simulated = sum(not isinstance(layer, IntegerLinear) for layer in quantized)
    if simulated or not quantized:
        raise UserError(
            f"Only steps on integers are compiled, and {simulated} of {len(quantized)} quantized layers are simulated here: leave "
            "the step uncompiled, or take a recipe all of whose layers multiply integers on this machine."
        )
    transformer = model.network.model.model.transformer
    layers = make_opaque(transformer)
    model.once.is_on = False
    model.once.forget()
    changing = sum(layer.rows > 1 for layer in layers)
    is_recorded = model.device.type == "cuda" and not changing
    if is_recorded:
        for layer in layers:
            layer.pack()  # what outlives a step must not lie in the memory of a record
    transformer.compile(dynamic=False, fullgraph=True, mode=RECORDED if is_recorded else None)
    line = f"blocks compiled around {len(layers)} integer layers"
    if model.device.type != "cuda":
        return line
    return (
        f"{line}, {'recorded as a CUDA graph' if is_recorded else f'not recorded: {changing} change with the timestep'}"
    )
