"""Peak resident memory of loading a quantized model and of one guided step, stage by stage.

    python tests/peak_memory.py WEIGHTS --text-encoder T5      # --latents 216, --blocks 2: less of a step, sooner

Run it in a process of its own, one file at a time. Peaks are `VmHWM` of /proc/self/status (Linux), put back to the present size
before each stage: `getrusage` would begin with the peak of the process that started this one. T5 is not read: the captions'
embeddings are random.
"""

import argparse
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PUT_PEAK_BACK = "5"  # see proc(5)
SIGMA = 500.0  # the first of the published schedule
CFG_SCALE = 7.0


class Peaks:
    """Highest resident size of each stage, in bytes, in the order in which stages were first met."""

    def __init__(self) -> None:
        self.by_stage: dict[str, int] = {}
        self._stage = "imports"

    def enter(self, stage: str) -> None:
        """Ends the stage before, and begins one, anew or again."""
        self.by_stage[self._stage] = max(read("VmHWM"), self.by_stage.get(self._stage, 0))
        CLEAR.write_text(PUT_PEAK_BACK)
        self._stage = stage

    @property
    def highest(self) -> int:
        """Of all stages that have ended."""
        return max(self.by_stage.values())

    @contextmanager
    def follow(self, blocks: nn.ModuleList) -> Iterator[None]:
        """Makes each innermost module of the blocks a stage, one for all blocks."""
        hooks = [
            module.register_forward_pre_hook(lambda _module, _args, name=name: self.enter(name))
            for block in blocks
            for name, module in block.named_modules()
            if not any(module.children())
        ]
        yield
        for hook in hooks:
            hook.remove()


def read(key: str) -> int:
    """A size of this process, in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", STATUS.read_text())
    assert found is not None, f"{STATUS} has no {key}"
    return 1024 * int(found[1])


def conditioning(model: Any) -> dict[str, Any]:
    """What the denoiser is given for one caption of 10 s; a T5's embeddings are random."""
    prompt = model.network.conditioner.conditioners["prompt"]
    if hasattr(prompt, "directory"):  # a T5
        embeddings = torch.randn(1, prompt.max_length, prompt.output_dim, generator=torch.Generator().manual_seed(1))
        prompt.forward = lambda _captions, _device: (embeddings, torch.ones(1, prompt.max_length, dtype=torch.bool))
    return dict(model.condition(["a dog barks"], [10.0]))


def main() -> None:
    """Loads, runs one step and prints peaks in GB (10^9 bytes)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--text-encoder", help="directory of the model's T5; its weights are not read")
    parser.add_argument("--latents", type=int, help="length of the clip (default: the model's longest)")
    parser.add_argument("--blocks", type=int, help="blocks that run (default: all)")
    parser.add_argument("--compute", choices=("simulated", "integer"), default="simulated")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from audioptq.generate.compute import use_compute
    from audioptq.generate.load import open_generator
    from audioptq.machine.memory import freed_is_kept

    peaks, started = Peaks(), time.monotonic()
    peaks.enter("loading")
    opened = open_generator(options.weights, options.text_encoder)
    model, recipe = opened.model, opened.recipe
    if options.compute == "integer":
        peaks.enter("integer compute")
        print(use_compute(model.network, recipe, "integer")[2])
    peaks.enter("conditioning")
    loaded = read("VmRSS")
    blocks = model.network.model.model.transformer.layers
    if options.blocks:
        model.network.model.model.transformer.layers = blocks[: options.blocks]
    channels, frames = model.latent_shape
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(), peaks.follow(blocks), freed_is_kept():  # as `sample` takes its steps
        given = conditioning(model)
        noise = SIGMA * torch.randn(1, channels, options.latents or frames, generator=generator)
        peaks.enter("before the blocks")
        stepping = time.monotonic()
        result = model.denoise(noise, torch.tensor([SIGMA]), given, CFG_SCALE)
    done = time.monotonic()
    peaks.enter("end")
    for stage, peak in peaks.by_stage.items():
        print(f"{peak / 1e9:7.3f}  {stage}")
    print(
        f"{recipe.name} {options.compute}, {noise.shape[-1]} latents: peak {peaks.highest / 1e9:.3f} GB; {loaded / 1e9:.3f} after "
        f"loading, {read('VmRSS') / 1e9:.3f} at the end; loading {stepping - started:.0f} s, step {done - stepping:.0f} s; "
        f"norm of the result {result.double().norm():.9f}"
    )


if __name__ == "__main__":
    main()
