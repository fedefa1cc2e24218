"""Imports of packages that were made for other surroundings: CUDA wheels beside a CPU build of torch, and slow or noisy starts.

The wheels of torchaudio and torchvision on PyPI are CUDA builds whose compiled parts cannot load without CUDA libraries.
stable-audio-tools and k-diffusion import both, and use none of the compiled parts. docs/decisions/0004 has the whole story.
"""

import contextlib
import importlib.util
import io
import logging
import os
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
    """Swallows what libraries say on import, and no error.

    stable-audio-tools and k-diffusion print that there is no flash attention and that pkg_resources is old. transformers takes
    torchao along with a T5, which logs each of its GPU kernels that this machine does not load.
    """
    disabled = logging.root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Lets other people's networks work without what they print and warn of: layers listed one by one, deprecated imports."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Within it stable-audio-tools and k-diffusion load in two seconds less, without what nothing here uses.

    Every job of a workflow pays for its imports, and these two would take along torchvision (for pictures), k-diffusion's trainers
    (its `__init__`), integrals (for likelihoods and the LMS sampler) and the compiler of torch (for an attention that is only
    built when it is asked for). Names of torchvision and `scipy.integrate` are absent in what was imported within; afterwards
    all of them can be imported as ever.
    """
    if "k_diffusion" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        assert spec is not None, "the smoke test of the environment imports it"
        sys.modules["k_diffusion"] = importlib.util.module_from_spec(
            spec
        )  # its submodules load; its __init__ does not run
    absent: dict[str, types.ModuleType | None] = {name: types.ModuleType(name) for name in (*TORCHVISION, INTEGRATE)}
    vars(absent[TORCHVISION[1]])["functional"] = absent[TORCHVISION[2]]
    vars(absent[INTEGRATE])["solve_ivp"] = None  # torchdiffeq wants the name
    absent["torch._dynamo"] = None
    absent = {name: module for name, module in absent.items() if name not in sys.modules}
    compiler = torch.compile
    if os.environ.get("ENABLE_TORCH_COMPILE") == "1":  # stable-audio-tools' own switch
        absent.pop("torch._dynamo", None)
    else:
        torch.compile = _leave_as_it_is  # type: ignore[assignment]  # gives back what it is given
    sys.modules.update(absent)  # type: ignore[arg-type]  # None is Python's mark of a module that shall not be found
    try:
        yield
    finally:
        torch.compile = compiler
        for name in absent:
            del sys.modules[name]


def _leave_as_it_is(function: object, **_options: object) -> object:
    return function


TORCHVISION = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
INTEGRATE = "scipy.integrate"
_KEEP_ALIVE: list[torch.library.Library] = []
