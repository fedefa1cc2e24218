"""The device that networks run on: one place that chooses it and settles how it rounds."""

import os

import torch

from audioptq.errors import UserError
from audioptq.machine.gpu_claim import claim_gpu, visible_gpus

VARIABLE = "AUDIOPTQ_DEVICE"


def best_device() -> str:
    """`cuda` where there is a GPU, else `cpu`; the environment variable `AUDIOPTQ_DEVICE` (cpu, cuda, cuda:1) overrides it.

    Where several GPUs are visible it is one that no other process has, this process's until it ends. One that is alone, as in
    most allocations of Slurm, is taken as it is.

    Full precision means float32 on every device, so that a baseline made on a GPU is one: reduced-precision shortcuts of CUDA
    (TF32 and half-precision sums, ten bits of mantissa in place of 23) are switched off here for the whole process.

    Raises:
        UserError: If the variable names a device that is unknown or absent.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    chosen = os.environ.get(VARIABLE) or _free_device(n_gpus)
    kind, _, index = chosen.partition(":")
    is_present = chosen == "cpu" or (kind == "cuda" and (index or "0").isdecimal() and int(index or 0) < n_gpus)
    if not is_present:
        raise UserError(
            f"{VARIABLE} is {chosen!r}, but this machine has {n_gpus} CUDA devices: unset it, or set it to cpu, cuda or, "
            "where there are several, cuda:0, cuda:1 and so on."
        )
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return chosen


def _free_device(n_gpus: int) -> str:
    if n_gpus > 1:
        return f"cuda:{claim_gpu(visible_gpus(n_gpus))}"
    return "cuda" if n_gpus == 1 else "cpu"


def synchronise(device: str | torch.device) -> None:
    """Waits for what a GPU still has to do, so that a clock read afterwards counts it; nothing to wait for on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
