"""What the tests share: a tiny model with random weights, a short schedule, and plain sounds."""

import importlib.util
import os
import shutil
import signal
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

from audioptq.machine.compat import allow_cuda_wheels_on_cpu

if TYPE_CHECKING:
    from audioptq.models.stable_audio.adapter import StableAudioModel
    from audioptq.sampling.sampler import SamplerSettings

SAMPLE_RATE_HZ = 16000
DISK_BYTES = 6e9  # a whole run has 4.7 GB in use at its worst, two tests side by side

# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

torch.set_num_threads(1)
allow_cuda_wheels_on_cpu()  # before any test module imports k_diffusion or stable_audio_tools


def pytest_sessionstart(session: pytest.Session) -> None:
    """Says at once that the disk is nearly full, which a dozen tests would otherwise say in as many odd ways."""
    folder, of_a_worker = tempfile.gettempdir(), hasattr(session.config, "workerinput")
    if not of_a_worker and (bytes_free := shutil.disk_usage(folder).free) < DISK_BYTES:
        pytest.exit(
            f"{folder} has {bytes_free / 1e9:.1f} GB free, and the tests write up to {DISK_BYTES / 1e9:.0f} GB there. "
            "Free some, or name a folder on another disk: TMPDIR=/path make test",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )


@pytest.fixture(scope="session")
def tiny_config() -> dict[str, Any]:
    """`mini`'s configuration with two narrow blocks, for clips of a second, with a quick phase reconstruction."""
    from audioptq.train.mini_config import mini_config

    config = mini_config() | {"sample_size": 16384}
    config["model"]["diffusion"]["config"] |= {"depth": 2, "embed_dim": 128, "num_heads": 2}
    config["model"]["pretransform"]["config"] |= {"griffin_lim_iterations": 2}
    return config


@pytest.fixture(scope="session")
def tiny_model(tiny_config: dict[str, Any]) -> "StableAudioModel":
    """A model of `tiny_config` with seeded random weights; tests that change it take a deep copy.

    stable-audio-tools starts the output layers of every block at exactly zero: such a network hears neither its prompt nor
    a quantized layer. They get weights here, and the pretransform a random orthonormal basis around a quiet level.
    """
    from audioptq.models.stable_audio.adapter import StableAudioModel

    torch.manual_seed(20)
    model = StableAudioModel(tiny_config)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if name.startswith("model.") and parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        pretransform = model.network.pretransform
        pretransform.basis.copy_(torch.linalg.qr(torch.randn(pretransform.basis.shape))[0])
        pretransform.mean.fill_(-8.0)
        pretransform.deviation.fill_(2.0)
    return model


@pytest.fixture(scope="session")
def published_model() -> ModuleType:
    """`published_model.py` beside this file: writes models and T5s in the layouts in which they are published."""
    spec = importlib.util.spec_from_file_location("published_model", Path(__file__).with_name("published_model.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def published(published_model: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `t5`, Stable Audio Open 1.0 and its T5 in small; tests that change files copy it."""
    folder = tmp_path_factory.mktemp("published")
    published_model.publish_stable_audio(folder / "model")
    published_model.publish_t5(folder / "t5")
    return folder


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., "SamplerSettings"]:
    """Sampler settings of four steps; keywords change them."""
    from audioptq.sampling.sampler import SamplerSettings

    settings = SamplerSettings("dpmpp-3m-sde", steps=4, sigma_min=0.3, sigma_max=80.0, rho=1.0, cfg_scale=3.0)
    return lambda **changes: replace(settings, **changes)


@pytest.fixture(scope="session")
def tiny_prompts() -> pd.DataFrame:
    """Five prompts in words that the tiny model knows."""
    captions = ["a dog barks", "rain falls", "a siren wails", "someone knocks on a door", "a bell rings"]
    clip_ids = [f"clip {index}" for index in range(5)]
    frame = pd.DataFrame({"clip_id": clip_ids, "caption": captions, "reference_id": clip_ids})
    return frame.assign(reference_path=None, seconds_total=1.024, kind=None, labels=None)


@pytest.fixture(scope="session")
def sine() -> Callable[..., np.ndarray]:
    """`sine(hz, seconds=..., level=..., sample_rate=...)`: `[1, samples]` float64."""

    def make(hz: float, seconds: float = 1.0, level: float = 0.5, sample_rate: int = SAMPLE_RATE_HZ) -> np.ndarray:
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        return level * np.sin(2 * np.pi * hz * time)[None]

    return make
