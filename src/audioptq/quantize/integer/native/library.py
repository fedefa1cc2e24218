"""The C++ kernels as a library: compiled at first use, kept in the user's cache, and loaded."""

import ctypes
import os
import shlex
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from audioptq.atomic import atomic_path
from audioptq.errors import UserError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.cpp", "tiles.h", "rows.h"))
# No -ffast-math: integers and scales must come out as torch's. The two of it that are here let roundings be vectorised, and
# change no result.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-shared",
    "-fPIC",
    "-fopenmp",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
)
INSTRUCTIONS = {
    "avx512_vnni": ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"),
    "avx2": ("-mavx2", "-mfma"),
}
COMPILERS = ("c++", "g++", "clang++")
LIMIT_SECONDS = 120.0

POINTER, SIZE, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
ARGUMENTS = {
    "audioptq_quantize": (POINTER, POINTER, POINTER, SIZE, SIZE, ctypes.c_float, POINTER, POINTER),
    "audioptq_product": (*[POINTER] * 6, SIZE, SIZE, SIZE, FLAG, FLAG, FLAG, POINTER),
}


class NoLibrary(Exception):
    """Why there are no kernels on this machine, as a clause."""


def instructions() -> str | None:
    """The instruction set that the kernels would use here, a key of `INSTRUCTIONS`; None if this processor has none of them."""
    if torch.cpu._is_vnni_supported() and torch.cpu._is_avx512_supported():
        return "avx512_vnni"
    return "avx2" if torch.cpu._is_avx2_supported() else None


@cache
def load() -> ctypes.CDLL:
    """The library for this processor, compiled if need be; once per process.

    It lies in `$XDG_CACHE_HOME/audioptq` (`~/.cache/audioptq`), under a digest of its sources and flags. Where no such folder can be
    written each process compiles for itself.

    Raises:
        NoLibrary: If the processor or the compiler has not what it takes.
    """
    chosen = instructions()
    if chosen is None:
        raise NoLibrary("this processor has no AVX2")
    flags = (*FLAGS, *INSTRUCTIONS[chosen])
    digest = sha256(b"\0".join([*map(Path.read_bytes, SOURCES), " ".join(flags).encode()])).hexdigest()[:16]
    try:
        library = cache_folder() / f"kernels-{chosen}-{digest}.so"
        if library.is_file():
            with suppress(OSError):  # damaged: made anew
                return _open(library)
        with atomic_path(library) as temporary:
            compile_to(temporary, flags)
        return _open(library)
    except (UserError, OSError):  # a folder that cannot be written, or from which nothing may be executed
        with TemporaryDirectory(prefix="audioptq-") as folder:
            compile_to(Path(folder) / "kernels.so", flags)
            return _open(Path(folder) / "kernels.so")


def cache_folder() -> Path:
    """Where compiled kernels are kept, the user's own.

    Raises:
        UserError: If there is no home.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "audioptq"
    except RuntimeError as error:
        raise UserError(f"There is no place for compiled kernels: {error}") from error


def compile_to(path: Path, flags: tuple[str, ...]) -> None:
    """Compiles the kernels; `CXX` says by what, else the first of `COMPILERS` that there is.

    Raises:
        NoLibrary: If there is no compiler, or it fails.
    """
    named = os.environ.get("CXX")
    compiler = shlex.split(named) if named else [name for name in COMPILERS if shutil.which(name)][:1]
    if not compiler:
        raise NoLibrary("there is no C++ compiler to make its kernels with (install g++, or name one in CXX)")
    command = [*compiler, *flags, str(SOURCES[0]), "-o", str(path)]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.CalledProcessError as error:
        lines = (
            [line for line in error.stderr.splitlines() if "error" in line]
            or error.stderr.splitlines()
            or ["no message"]
        )
        raise NoLibrary(f"{compiler[0]} cannot compile its kernels: {lines[0]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoLibrary(f"{compiler[0]} cannot compile its kernels: {error}") from error


def _open(path: Path) -> ctypes.CDLL:
    # Its threads are torch's: it asks for libgomp.so.1, which torch has brought and loaded under that very name.
    library = ctypes.CDLL(str(path))
    for name, arguments in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library
