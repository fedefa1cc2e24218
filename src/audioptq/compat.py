"""Lets torchaudio and torchvision be imported beside a CPU build of torch; does nothing on a machine with CUDA.

The wheels of torchaudio and torchvision on PyPI are CUDA builds whose compiled parts cannot load without CUDA libraries.
stable-audio-tools and k-diffusion import both, and use none of the compiled parts. docs/decisions/0004 has the whole story.
"""

import contextlib
import io
import sys
import types
import warnings
from collections.abc import Iterator

import torch


def allow_cuda_wheels_on_cpu() -> None:
    """Makes `import torchaudio` and `import torchvision` work beside a CPU build of torch; call before importing either.

    torchaudio is told that its extension is absent (it has a Python path for that case); torchvision's two operators are
    declared without an implementation, so that using one fails loudly.
    """
    if torch.version.cuda is not None or "torchaudio._extension" in sys.modules:
        return

    def fail_if_no_align(function: object) -> object:
        return function

    extension = types.ModuleType("torchaudio._extension")
    vars(extension).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
        _load_lib=lambda name: False,
    )
    sys.modules["torchaudio._extension"] = extension
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEEP_ALIVE.append(library)


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Swallows what stable-audio-tools and k-diffusion print on import: no flash attention here, and pkg_resources is old."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        yield


_KEEP_ALIVE: list[torch.library.Library] = []
