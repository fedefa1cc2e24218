"""What goes wrong in a plan: drawn from its seed, so that a number repeats it."""

import random
from dataclasses import dataclass

LOCAL_KINDS = (
    "worker killed",
    "driver killed",
    "interrupted",
    "disk full",
    "truncated",
    "bits flipped",
    "unreadable",
    "two drivers",
    "fork server killed",
)
SLURM_KINDS = ("job cancelled", "worker killed", "driver killed")
# Seeds from here on run on Slurm.
FIRST_ON_SLURM = 46
# What is made anew, from the report alone to a recipe from its weights on.
DEPTHS = ("score", "embed", "generate", "quantize")


@dataclass(frozen=True)
class Plan:
    """One to three disturbances of a run of which a part is made anew.

    Attributes:
        seed: Which repeats it.
        kinds: The disturbances, in order.
        depth: The first stage whose files are removed beforehand.
        recipe: Whose.
        on_slurm: Whether jobs run on Slurm.
    """

    seed: int
    kinds: tuple[str, ...]
    depth: str
    recipe: str
    on_slurm: bool

    @classmethod
    def of(cls, seed: int, recipes: list[str]) -> "Plan":
        """The plan of a seed; consecutive seeds begin with all kinds in turn."""
        draw, on_slurm = random.Random(seed), seed >= FIRST_ON_SLURM
        every = SLURM_KINDS if on_slurm else LOCAL_KINDS
        n_further = 0 if on_slurm else draw.choices([0, 1, 2], [5, 3, 2])[0]
        kinds = (every[(seed - 1) % len(every)], *draw.choices(every, k=n_further))
        depth = "generate" if on_slurm else draw.choice(DEPTHS[1:] if n_further else DEPTHS)
        return cls(seed, kinds, depth, draw.choice(recipes), on_slurm)

    def random(self, step: int) -> random.Random:
        """The draws of one disturbance, the same whatever came before it."""
        return random.Random(f"{self.seed}-{step}")

    def __str__(self) -> str:
        where = "Slurm" if self.on_slurm else "local"
        return f"{where}, {self.recipe} from {self.depth}: {', then '.join(self.kinds)}"


def parse_seeds(text: str) -> list[int]:
    """Seeds of `1-50` or `3,17`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds
