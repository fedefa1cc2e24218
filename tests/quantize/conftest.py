"""A small model with the parts of a real one, ranges that change over timesteps, and every published recipe."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from audioptq.calibrate.act_stats import ActStats, LayerStats
from audioptq.noise_levels import NoiseLevels

WIDTH = 24
TIMESTEPS = 6
COMPONENTS = {"denoiser.": "denoiser", "conditioner.": "conditioner", "pretransform.": "pretransform"}

_DYNAMIC = {"bits": 8, "range": "dynamic", "granularity": "per_token"}
_STATIC = {"bits": 8, "range": "static", "granularity": "per_tensor"}
_TIMESTEP = {"kind": "timestep", "alpha": 0.5, "form": "stored"}


def _smoothed(weight_bits: int, act_bits: int) -> dict[str, dict]:
    weight = {"bits": weight_bits, "granularity": "per_channel"}
    dynamic, static = _DYNAMIC | {"bits": act_bits}, _STATIC | {"bits": act_bits}
    name = f"w{weight_bits}a{act_bits}"
    return {
        f"{name}_sqd": {"weight": weight, "activation": dynamic, "smoothing": _TIMESTEP},
        f"{name}_sqs": {"weight": weight, "activation": static, "smoothing": {"kind": "static"}},
        f"{name}_sqd_lora": {
            "weight": weight,
            "activation": dynamic,
            "smoothing": _TIMESTEP,
            "low_rank": {"rank": 4, "of": "error"},
        },
    }


RECIPES: dict[str, dict] = {
    "fp32": {},
    "bf16": {"dtype": "bfloat16"},
    "w8a16": {"weight": {"bits": 8}, "dtype": "bfloat16"},
    "w8a8_rtn": {"weight": {"bits": 8}, "activation": _DYNAMIC},
    "w4a8_rtn": {"weight": {"bits": 4}, "activation": _DYNAMIC},
    **_smoothed(8, 8),
    **_smoothed(4, 8),
    **_smoothed(4, 4),
    "w8a8_sqd_sim": {"weight": {"bits": 8}, "activation": _DYNAMIC, "smoothing": _TIMESTEP | {"form": "simulated"}},
    "w4a8_sqd_sim": {"weight": {"bits": 4}, "activation": _DYNAMIC, "smoothing": _TIMESTEP | {"form": "simulated"}},
}

_W4, _A8 = {"bits": 4}, {"bits": 8}

# Beyond the published rows: every other value of every axis at least once.
VARIANTS: dict[str, dict] = {
    "w3_per_group": {"weight": {"bits": 3, "granularity": "per_group", "group_size": 7}},
    "w2_per_tensor": {"weight": {"bits": 2, "granularity": "per_tensor"}, "activation": _A8},
    "w8_concat": {
        "weight": {"bits": 8, "granularity": "per_concat_group"},
        "layers": {"exclude": ["*.ff.2"]},
    },
    "w32a8": {"activation": {"bits": 8, "granularity": "per_tensor"}},
    "w32a8_smooth": {"activation": _A8, "smoothing": {"kind": "timestep"}},
    "grouped_static_range": {"weight": _W4, "activation": _STATIC, "smoothing": {"kind": "grouped", "groups": 3}},
    "timestep_static_range": {"weight": {"bits": 8}, "activation": _STATIC, "smoothing": _TIMESTEP},
    "paper_per_channel": {
        "weight": {"bits": 8},
        "activation": {"bits": 8, "range": "static", "granularity": "per_channel"},
        "smoothing": _TIMESTEP,
    },
    "per_channel_dynamic": {"weight": {"bits": 8}, "activation": {"bits": 8, "granularity": "per_channel"}},
    "svdquant": {
        "weight": {"bits": 4, "granularity": "per_group", "group_size": 8},
        "activation": {"bits": 4},
        "smoothing": {"kind": "static"},
        "low_rank": {"rank": 6, "of": "weight"},
    },
    "svdquant_timestep": {
        "weight": _W4,
        "activation": _A8,
        "smoothing": _TIMESTEP,
        "low_rank": {"rank": 6, "of": "weight"},
    },
    "grouped_lora_sim": {
        "weight": _W4,
        "activation": _A8,
        "smoothing": {"kind": "grouped", "groups": 2, "form": "simulated"},
        "low_rank": {"rank": 3},
        "dtype": "bfloat16",
    },
    "mixed": {
        "weight": _W4,
        "activation": _A8,
        "dtype": "bfloat16",
        "layers": {
            "exclude": ["*.out"],
            "overrides": {
                "*.ff*": {"weight": {"bits": 8}},
                "*.1.ff.0": {"activation": None},
                "*.1.qkv": {"weight": None, "activation": None},
            },
        },
    },
}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.ff = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return x + self.ff(x + self.out(torch.softmax(q @ k.mT, -1) @ v))


class Model(nn.Module):
    """`denoiser`, `conditioner` and `pretransform`, with an integer buffer and one that float16 cannot hold."""

    def __init__(self, width: int = WIDTH, blocks: int = 2) -> None:
        super().__init__()
        self.denoiser = nn.ModuleDict({"blocks": nn.ModuleList(Block(width) for _ in range(blocks))})
        self.conditioner = nn.Linear(5, width)
        self.pretransform = nn.Module()
        self.pretransform.register_buffer("powers", torch.logspace(0, 9, 10))
        self.pretransform.register_buffer("order", torch.arange(7))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conditioner(x[..., :5])
        for block in self.denoiser["blocks"]:
            x = block(x)
        return x


def candidates_of(model: nn.Module) -> list[str]:
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith("denoiser.")]


def outlier_stats(model: nn.Module, seed: int = 0) -> ActStats:
    """Ranges with outlier channels that grow at different timesteps, as in Fig. 2 of the audio-DiT paper."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for name in candidates_of(model):
        channels = model.get_submodule(name).in_features
        absmax = 2.0 ** torch.randn(TIMESTEPS, channels, generator=generator) * torch.linspace(1, 4, TIMESTEPS)[:, None]
        absmax[:, :2] *= 20
        layers[name] = LayerStats(absmax, -absmax, 0.5 * absmax)
    return ActStats(NoiseLevels("v", torch.logspace(2, -0.5, TIMESTEPS).tolist()), layers)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(1)
    return Model().eval().requires_grad_(False)


@pytest.fixture
def candidates(model: Model) -> list[str]:
    return candidates_of(model)


@pytest.fixture
def stats(model: Model) -> ActStats:
    return outlier_stats(model)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def components() -> dict[str, str]:
    return dict(COMPONENTS)


@pytest.fixture(params=list(itertools.chain(RECIPES, VARIANTS)))
def named_entry(request: pytest.FixtureRequest) -> tuple[str, dict]:
    return request.param, (RECIPES | VARIANTS)[request.param]


@pytest.fixture
def published() -> dict[str, dict]:
    return RECIPES
