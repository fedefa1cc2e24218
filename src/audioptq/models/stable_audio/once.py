"""Cross-attention's keys and values once per prompt: layers that read the prompt alone need not run at each step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

# In stable-audio-tools' names: the projection of the prompt's tokens, and each block's keys and values of them.
READERS = ("to_cond_embed", "cross_attn.to_kv")


def prompt_readers(network: nn.Module) -> dict[str, str | None]:
    """The modules whose input is the prompt alone, by name, and why the output of one changes all the same; None if not.

    A quantized layer changes with the timestep if it has several smoothing vectors, which its attribute `rows` counts.
    """
    names = [name for name, _ in network.named_modules() if f".{name}".endswith(tuple(f".{end}" for end in READERS))]
    return {name: _change(network.get_submodule(name)) for name in names}


def readers_summary(network: nn.Module) -> str:
    """One line: how many modules run once per prompt, and why the others do not."""
    reasons = list(prompt_readers(network).values())
    line = f"{reasons.count(None)} of {len(reasons)} modules that read the prompt alone run once per prompt"
    others = {reason: reasons.count(reason) for reason in reasons if reason is not None}
    return line + "".join(f"; {count} at each step, since {reason}" for reason, count in others.items())


class OncePerPrompt:
    """Keeps the outputs of `prompt_readers` from one step to the next, for as long as the prompt is the same.

    Whoever runs the network says within `about` which conditioning it is about. A prompt is known by the identity of its
    tensors, which are held here so that no other tensor can come to have it: to compare their values would halt a GPU at each
    call. Beside the prompt, an output belongs to its module and to the shape, type and device of the input: a guided pass has
    twice the batch of one without guidance. A module that is called outside of `about` computes as ever.

    The first of several modules of a kind that is called computes for all of them, since all read one tensor: what is kept then
    lies together in memory. Made block by block, each output would come to lie among the block's activations, whose room the
    next block could not use as one piece: up to 0.2 GB of peak at Stable Audio Open's geometry, now more and now less.

    Modules keep their names, tensors and hooks: only `forward` is set on each, once per prompt, so that layers which took the
    place of others meanwhile are found.

    Attributes:
        is_on: Whether anything is kept. For generating: calibration observes each pass, and no gradient goes through an output
            that was kept.
    """

    def __init__(self, network: nn.Module) -> None:
        self.is_on = False
        self._network = network
        self._prompt: list[tuple[Any, int]] | None = None
        self._outputs: dict[Any, Tensor] = {}
        self._ahead: dict[Any, tuple[Tensor, Tensor]] = {}  # input and output of modules that were not called yet
        self._kinds: list[list[nn.Module]] = []
        self._is_stated = False

    @contextmanager
    def about(self, conditioning: Mapping[str, Any]) -> Iterator[None]:
        """Within it the network runs for this conditioning, as `StableAudioModel.condition` returns it."""
        if not self.is_on:
            yield
            return
        prompt = [(value, _version(value)) for value in conditioning.values()]
        if self._prompt is None or not _is_same(prompt, self._prompt):
            self.forget()
            self._prompt = prompt
            self._set_forwards()
        self._is_stated = True
        try:
            yield
        finally:
            self._is_stated = False

    def forget(self) -> None:
        """Lets the prompt and the outputs go; needed where the network's weights change under a prompt."""
        self._prompt = None
        self._outputs = {}
        self._ahead = {}

    def output(self, module: nn.Module, x: Tensor) -> Tensor:
        """What `module` makes of `x`, kept if it was made for this prompt before."""
        if not self._is_stated:
            return _computed(module, x)
        key = _key(module, x)
        if key not in self._outputs:
            self._outputs[key] = self._first_output(module, x)
        return self._outputs[key]

    def _first_output(self, module: nn.Module, x: Tensor) -> Tensor:
        key = _key(module, x)
        if key not in self._ahead:
            kind = next(modules for modules in self._kinds if module in modules)
            self._ahead |= {
                _key(other, x): (x, _computed(other, x)) for other in kind if _key(other, x) not in self._outputs
            }
        given, y = self._ahead.pop(key)
        return y if given is x else _computed(module, x)

    def _set_forwards(self) -> None:
        kinds: dict[str, list[nn.Module]] = {end: [] for end in READERS}
        for name, change in prompt_readers(self._network).items():
            module = self._network.get_submodule(name)
            if change is None:
                module.forward = _Forward(module, self)
                kinds[next(end for end in READERS if name.endswith(end))].append(module)
            else:
                module.__dict__.pop("forward", None)
        self._kinds = list(kinds.values())


class _Forward:
    """A module's `forward`; an object rather than a function, so that a copied network refers to its own modules."""

    def __init__(self, module: nn.Module, once: OncePerPrompt) -> None:
        self.module = module
        self.once = once

    def __call__(self, x: Tensor) -> Tensor:
        return self.once.output(self.module, x)


def _key(module: nn.Module, x: Tensor) -> tuple[Any, ...]:
    return module, x.shape, x.dtype, x.device


def _computed(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = type(module).forward(module, x)
    return y


def _change(module: nn.Module) -> str | None:
    if any(getattr(layer, "rows", 1) > 1 for layer in module.modules()):
        return "their smoothing changes with the timestep"
    return None


def _is_same(ours: list[tuple[Any, int]], theirs: list[tuple[Any, int]]) -> bool:
    return len(ours) == len(theirs) and all(a is b and m == n for (a, m), (b, n) in zip(ours, theirs, strict=True))


def _version(value: Any) -> int:
    """Counts changes in place; tensors of inference mode do not count them."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
