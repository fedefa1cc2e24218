"""Generation: clips from a quantized model, one by one for a user or shard by shard for the workflow.

Names that need torch are imported when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audioptq.generate.load import open_generator
    from audioptq.generate.text_to_audio import TextToAudio

_MODULE_OF = {"TextToAudio": "text_to_audio", "open_generator": "load"}

__all__ = ["TextToAudio", "open_generator"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
