"""The C++ kernels as a library: compiled at first use, kept in the user's cache, and loaded."""

import ctypes
import os
import shlex
import shutil
import subprocess
import threading
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from audioptq.errors import UserError
from audioptq.files.atomic import atomic_path

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
_LOCK = threading.Lock()

POINTER, SIZE, FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
ARGUMENTS = {
    "audioptq_quantize": (*[POINTER] * 3, SIZE, SIZE, ctypes.c_float, FLAG, POINTER, POINTER),
    "audioptq_product": (*[POINTER] * 6, SIZE, SIZE, SIZE, *[FLAG] * 4, POINTER),
}


class NoLibrary(Exception):
    """Why there are no kernels on this machine, as a clause."""


def instructions() -> str | None:
    """The instruction set that the kernels would use here, a key of `INSTRUCTIONS`; None if this processor has none of them."""
    if torch.cpu._is_vnni_supported() and torch.cpu._is_avx512_supported():
        return "avx512_vnni"
    return "avx2" if torch.cpu._is_avx2_supported() else None


def load() -> ctypes.CDLL:
    """The library for this processor, compiled if need be; once per process, whatever comes of it.

    It lies in `$XDG_CACHE_HOME/audioptq` (`~/.cache/audioptq`), under a digest of its sources, flags and compiler. Where there is no
    folder of the user's own each process compiles for itself.

    Raises:
        NoLibrary: If the processor or the compiler has not what it takes.
    """
    with _LOCK:
        found = _outcome()
    if isinstance(found, str):
        raise NoLibrary(found)
    return found


@cache
def _outcome() -> ctypes.CDLL | str:
    """The library, or why there is none: a compiler that fails is not asked again for the next layer."""
    try:
        return _find_or_make()
    except NoLibrary as error:
        return str(error)
    except (UserError, OSError, AttributeError, ValueError) as error:
        return f"its kernels cannot be loaded: {error}"


def _find_or_make() -> ctypes.CDLL:
    chosen = instructions()
    if chosen is None:
        raise NoLibrary("this processor has no AVX2")
    flags = (*FLAGS, *INSTRUCTIONS[chosen])
    key = [*map(Path.read_bytes, SOURCES), " ".join(flags).encode(), os.environ.get("CXX", "").encode()]
    name = f"kernels-{chosen}-{sha256(bytes(0).join(key)).hexdigest()[:16]}.so"
    folder = _own_folder()
    if folder is not None:
        with suppress(OSError, AttributeError):  # absent, or damaged: made anew
            return _open(folder / name)
        with (
            suppress(UserError, OSError),
            atomic_path(folder / name) as temporary,
        ):  # nothing can be written, or executed, there
            compile_to(temporary, flags)
            return _open(temporary)
    with TemporaryDirectory(prefix="audioptq-") as private:
        compile_to(Path(private) / name, flags)
        return _open(Path(private) / name)


def _own_folder() -> Path | None:
    """Where compiled kernels are kept; None if there is no such folder that only the user can write to: what lies there is run."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(home) if home else Path.home() / ".cache") / "audioptq"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # of a user without a home
        return None
    return folder if status.st_uid == os.getuid() and not status.st_mode & 0o022 else None


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
    # Compiled by GCC its threads are torch's: it asks for libgomp.so.1, which torch has brought and loaded under that very name.
    library = ctypes.CDLL(str(path))
    for name, arguments in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, FLAG
    return library
