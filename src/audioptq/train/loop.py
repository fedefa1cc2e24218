"""The training loop that all of `mini`'s networks share: schedule, running average of weights, checkpoints, resume."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from audioptq.console import progress
from audioptq.files.artifacts import atomic_path

CHECKPOINT_SECONDS = 60.0
EMA_DECAY = 0.999


@dataclass(frozen=True)
class TrainSettings:
    """How long and how fast to train.

    Attributes:
        steps: Optimizer steps.
        batch_size: Clips per step.
        learning_rate: Peak, after a warm-up over the first 2 % of the steps; it then falls linearly to zero.
        seed: Of the batches and of all random draws.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int = 0


def train(
    module: nn.Module,
    loss_of: Callable[[Tensor], Tensor],
    n_items: int,
    settings: TrainSettings,
    checkpoint: str | Path,
    log: Callable[[str], None] = print,
) -> nn.Module:
    """Trains `module` and returns its running average; an interrupted run goes on from `checkpoint`.

    Args:
        module: On the device it shall train on.
        loss_of: Takes indices `[batch]` of training items (CPU) and returns the scalar loss.
        n_items: Training items; batches are drawn with replacement from a stream that depends on (seed, step) alone.
        settings: Steps, batch size, learning rate, seed.
        checkpoint: File for the state; written every minute and removed by nobody.
        log: Gets a line of the mean loss every so often.
    """
    checkpoint = Path(checkpoint)
    average = copy.deepcopy(module).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(module.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings.steps))
    first = _resume(checkpoint, module, average, optimizer, scheduler)
    module.train()
    saved, losses = time.monotonic(), []
    steps = range(first, settings.steps)
    for step in progress(steps, f"train {checkpoint.stem}", total=settings.steps, unit="step", initial=first):
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        torch.manual_seed(settings.seed * 1_000_003 + step)
        loss = loss_of(torch.randint(n_items, (settings.batch_size,), generator=generator))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        _update_average(average, module, min(EMA_DECAY, (1 + step) / (10 + step)))
        losses.append(float(loss.detach()))
        if len(losses) == 200:
            log(f"step {step + 1}: loss {sum(losses) / len(losses):.4f}")
            losses.clear()
        if time.monotonic() - saved > CHECKPOINT_SECONDS or step + 1 == settings.steps:
            _save(checkpoint, step + 1, module, average, optimizer, scheduler)
            saved = time.monotonic()
    return average


def _rate(step: int, steps: int) -> float:
    warm_up = max(1, steps // 50)
    return min((step + 1) / warm_up, max(0.0, (steps - step) / (steps - warm_up + 1)))


@torch.no_grad()
def _update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    for mean, value in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)
    for kept, latest in zip(average.buffers(), module.buffers(), strict=True):
        kept.copy_(latest)


def _save(path: Path, step: int, module: nn.Module, average: nn.Module, *others: object) -> None:
    state = {"step": step, "module": module.state_dict(), "average": average.state_dict()}
    state |= {f"other{index}": other.state_dict() for index, other in enumerate(others)}  # type: ignore[attr-defined]
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, module: nn.Module, average: nn.Module, *others: object) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    module.load_state_dict(state["module"])
    average.load_state_dict(state["average"])
    for index, other in enumerate(others):
        other.load_state_dict(state[f"other{index}"])  # type: ignore[attr-defined]
    return int(state["step"])


def log_uniform(n: int, low: float, high: float) -> Tensor:
    """Draws `n` numbers whose logarithm is uniform between those of `low` and `high`."""
    return torch.exp(torch.empty(n).uniform_(math.log(low), math.log(high)))
