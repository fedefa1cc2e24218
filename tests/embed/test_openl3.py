"""OpenL3 is what Keras and kapre, or torchopenl3, make of the same weights, and its seconds are openl3's."""

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from audioptq.embed import openl3
from audioptq.embed.prepare import peak_normalise, resample_kaiser_best
from audioptq.errors import DamagedArtifactError, UserError

DATA = Path(__file__).parent / "data"
RATE_HZ = 44100


@pytest.fixture(scope="module")
def files(published):
    return published("openl3")


@pytest.fixture(scope="module")
def published_variant(files):
    return openl3.load(files, "mel256-env-512")


def noise(seconds: float, channels: int = 1, seed: int = 0, rate: int = RATE_HZ) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((channels, round(seconds * rate))) / 10).astype(np.float32)


def keras_sound() -> np.ndarray:
    spec = importlib.util.spec_from_file_location("openl3_keras", DATA / "openl3_keras.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sound()


def test_published_variant_gives_what_keras_and_kapre_give(published_variant):
    """`openl3_keras.npz` was made from this weights file by TensorFlow's own reader, kapre's own frontend, resampy and float64."""
    expected = np.load(DATA / "openl3_keras.npz")
    sound = keras_sound()
    seconds = openl3.split_seconds(resample_kaiser_best(sound, RATE_HZ, 48000))
    levels = published_variant.network.speclayer(torch.from_numpy(seconds))[:, 0, ::7, ::7]
    np.testing.assert_allclose(levels, expected["decibels"], atol=1e-3)  # dB; found 0
    windows = published_variant.embed([(sound[None], RATE_HZ)])[0]["windows"]
    # Float32 through eight convolutions; embeddings are about 5. Found 1e-5.
    np.testing.assert_allclose(windows[:, :512], expected["embeddings"], atol=1e-4)
    assert torch.equal(windows[:, :512], windows[:, 512:])


def torchopenl3_embeddings(path: Path, audio: np.ndarray) -> np.ndarray:
    """What torchopenl3's own network, resampling and framing give for mono audio."""
    import torchopenl3
    from torchopenl3.models import PytorchOpenl3

    network = PytorchOpenl3("env", "mel256", 512)
    network.load_state_dict(torch.load(path))
    found, _ = torchopenl3.get_audio_embedding(
        audio.astype(np.float64), RATE_HZ, model=network.eval(), hop_size=0.5, center=True, batch_size=2
    )
    return found[0].numpy()


@pytest.mark.parametrize("seconds", [0.7, pytest.param(10.0, marks=pytest.mark.slow)])
def test_torchopenl3_variant_gives_what_torchopenl3_gives(files, seconds):
    audio = noise(seconds)
    audio[:, : audio.shape[1] // 4] = 0
    expected = torchopenl3_embeddings(files["torchopenl3_mel256_env_512"], peak_normalise(audio)[0])
    windows = openl3.load(files, "torchopenl3").embed([(audio, RATE_HZ)])[0]["windows"]
    assert windows.shape == ({0.7: 2, 10.0: 20}[seconds], 1024)
    np.testing.assert_allclose(windows[:, :512], expected, atol=1e-4)  # of about 5; found 2e-5
    np.testing.assert_allclose(windows[:, 512:], expected, atol=1e-4)


def test_variants_are_two_embeddings(files, published_variant):
    """The frontends differ, so that distances of one variant must not be set beside the other's."""
    clip = [(noise(0.5), RATE_HZ)]
    one, other = (
        published_variant.embed(clip)[0]["windows"],
        openl3.load(files, "torchopenl3").embed(clip)[0]["windows"],
    )
    assert (one - other).norm() > 0.05 * one.norm()
    assert published_variant.metadata == {"frontend": "kapre 0.3.7"}


@pytest.mark.parametrize(
    ("samples", "n_seconds"),
    [(480000, 20), (48000, 2), (24001, 2), (24000, 1), (1, 1), (72000, 3), (72001, 4), (442368, 19)],
)
def test_seconds_overlap_by_half_and_the_first_is_centred_on_the_start(samples, n_seconds):
    signal = np.arange(1, samples + 1, dtype=np.float32)
    seconds = openl3.split_seconds(signal)
    assert seconds.shape == (n_seconds, 48000)
    for index, second in enumerate(seconds):
        for place in (0, 23999, 24000, 47999):
            heard = index * 24000 + place - 24000
            assert second[place] == (signal[heard] if 0 <= heard < samples else 0)
    assert signal[-1] in seconds[-1]


def test_channels_are_embedded_apart_and_levelled_together(published_variant):
    left, right = noise(0.5, seed=1), noise(0.5, seed=2) / 4
    both = published_variant.embed([(np.concatenate([left, right]), RATE_HZ)])[0]["windows"]
    swapped = published_variant.embed([(np.concatenate([right, left]), RATE_HZ)])[0]["windows"]
    assert torch.equal(both, swapped.roll(512, dims=1))
    alone = published_variant.embed([(left, RATE_HZ)])[0]["windows"]  # the louder one sets the level
    assert torch.equal(both[:, :512], alone[:, :512])
    halved = published_variant.embed([(left / 2, RATE_HZ)])[0]["windows"]
    assert torch.equal(halved, alone)


def test_more_than_two_channels_are_refused(published_variant):
    with pytest.raises(UserError, match="mono or stereo clips, and one has 3 channels"):
        published_variant.embed([(noise(0.5, channels=3), RATE_HZ)])


def test_bandwidth_ends_where_the_metric_ends(published_variant):
    """A tone above 22.05 kHz is in a file at 96 kHz, but not in what is embedded."""
    audible = noise(0.5, rate=96000)
    ultrasonic = 0.05 * np.sin(2 * np.pi * 30000 * np.arange(48000) / 96000).astype(np.float32)
    peak = np.abs(audible).max()
    with_tone = (audible + ultrasonic) * (peak / np.abs(audible + ultrasonic).max())
    clean, mixed = (published_variant.embed([(audio, 96000)])[0]["windows"] for audio in (audible, with_tone))
    assert (clean - mixed).norm() < 0.01 * clean.norm()


def test_a_clip_does_not_depend_on_its_company(published_variant):
    clips = [(noise(0.5, seed=seed), RATE_HZ) for seed in range(2)]
    together = published_variant.embed(clips)
    for clip, found in zip(clips, together, strict=True):
        assert torch.equal(published_variant.embed([clip])[0]["windows"], found["windows"])


def test_seconds_per_pass_do_not_matter(files, published_variant):
    other = openl3.load(files, "mel256-env-512")
    other.chunk_seconds = 5
    clip = [(noise(1.2), RATE_HZ)]
    one, many = published_variant.embed(clip)[0]["windows"], other.embed(clip)[0]["windows"]
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-4)


def test_self_test_accepts_the_network_and_refuses_one_that_hears_nothing(files, published_variant):
    published_variant.self_test()
    deaf = openl3.load(files, "mel256-env-512")
    deaf.network.audio_embedding_layer.weight.zero_()
    with pytest.raises(
        DamagedArtifactError, match="openl3 failed its self-test: windows is the same for a tone and for noise"
    ):
        deaf.self_test()


def test_unpacked_keras_file_is_read_as_well(files, tmp_path, published_variant):
    unpacked = tmp_path / "openl3_audio_mel256_env.h5"
    unpacked.write_bytes(gzip.decompress(files["openl3_mel256_env_512"].read_bytes()))
    network = openl3.load({"openl3_mel256_env_512": unpacked}, "mel256-env-512").network
    assert torch.equal(network.conv2d_5.weight, published_variant.network.conv2d_5.weight)


@pytest.fixture(scope="module")
def published_module(published):
    published("openl3")  # puts the folder on the path
    from published_evaluators import openl3 as module

    return module


def without_the_last(layers, module):
    return module.keras_layers(layers)[:-2]


def with_a_frontend(layers, module):
    """openl3 before 0.4 stored its spectrogram layer."""
    named = module.keras_layers(layers)
    named[1] = ("melspectrogram_1", {"freq2mel": np.ones((4, 4), dtype=np.float32)})
    return named


def of_another_width(layers, module):
    layers[3]["kernel"] = layers[3]["kernel"][..., :8]
    return module.keras_layers(layers)


def in_another_order(layers, module):
    named = module.keras_layers(layers)
    named[2], named[4] = named[4], named[2]
    return named


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_the_last, "15 layers with weights"),
        (with_a_frontend, "17 layers with weights"),
        (of_another_width, r"of another shape \(conv2d_2\.weight"),
        (in_another_order, "in another order"),
    ],
)
def test_keras_files_with_other_layers_are_refused(tmp_path, published_module, change, why):
    path = tmp_path / "changed.h5.gz"
    published_module.write_keras(path, change(published_module.arrays(), published_module))
    with pytest.raises(DamagedArtifactError, match=rf"changed\.h5\.gz is not OpenL3's.*{why}"):
        openl3.load({"openl3_mel256_env_512": path}, "mel256-env-512")


@pytest.mark.parametrize("kind", ["absent", "page", "half of gzip", "half of HDF5", "gzip of something else"])
def test_damaged_keras_files_are_refused(tmp_path, files, kind):
    path, packed = tmp_path / "bad.h5.gz", files["openl3_mel256_env_512"].read_bytes()
    content = {
        "page": b"<html>Not found</html>",
        "half of gzip": packed[: len(packed) // 2],
        "half of HDF5": gzip.compress(gzip.decompress(packed)[: 1 << 20], 1),
        "gzip of something else": gzip.compress(b"something else"),
    }
    if kind != "absent":
        path.write_bytes(content[kind])
    with pytest.raises(DamagedArtifactError, match=r"bad\.h5\.gz is not OpenL3's audio weights"):
        openl3.load({"openl3_mel256_env_512": path}, "mel256-env-512")


def test_damaged_torch_files_are_refused(tmp_path, files):
    from published_evaluators.damaged import torch_files

    for path in torch_files(files["torchopenl3_mel256_env_512"], tmp_path):
        with pytest.raises(DamagedArtifactError, match=path.name):
            openl3.load({"torchopenl3_mel256_env_512": path}, "torchopenl3")
    assert not (tmp_path / "trace").exists()


MEMORY_PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from audioptq.embed import openl3
torch.set_num_threads(1)
evaluator = openl3.load({"openl3_mel256_env_512": Path(sys.argv[1])}, "mel256-env-512")
kilobytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
evaluator.embed([(np.ones((1, 100), dtype=np.float32), 44100)])
before = kilobytes()
windows = evaluator.embed([(np.random.default_rng(0).standard_normal((2, 441000)).astype(np.float32), 44100)])[0]["windows"]
print(*windows.shape, (kilobytes() - before) // 1024)
"""


@pytest.mark.slow
def test_ten_seconds_of_stereo_take_little_memory(files):
    command = [sys.executable, "-c", MEMORY_PROGRAM, str(files["openl3_mel256_env_512"])]
    n_windows, dim, mebibytes = map(
        int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    )
    assert (n_windows, dim) == (20, 1024)
    assert mebibytes < 500  # found 30; torchopenl3 takes 4 to 6 GiB
