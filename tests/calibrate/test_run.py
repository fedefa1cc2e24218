"""Calibration through the real sampler, and its file."""

import pytest
import torch

from audioptq.calibrate.act_stats import ActStats
from audioptq.calibrate.run import calibrate
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import read_tensors, write_tensors

RANGES = ("absmax", "min", "max")


@pytest.fixture(scope="module")
def run(tiny_model, tiny_prompts, make_settings):
    def calibrated(*, batch_size=3, n_prompts=5, seed=2, **changes):
        settings = make_settings(**changes)
        return calibrate(tiny_model, tiny_prompts.iloc[:n_prompts], settings=settings, seed=seed, batch_size=batch_size)

    return calibrated


@pytest.fixture(scope="module")
def made(run):
    return run()


def test_every_layer_has_a_row_per_step_and_a_column_per_input(made, tiny_model, make_settings):
    stats, _ = made
    assert list(stats.layers) == [site.name for site in tiny_model.sites()]
    assert stats.levels == make_settings().levels(tiny_model.objective)
    for name, layer in stats.layers.items():
        width = tiny_model.network.get_submodule(name).in_features
        assert {getattr(layer, kind).shape for kind in RANGES} == {(4, width)}
        assert (layer.min <= layer.max).all()
        assert torch.equal(layer.absmax, torch.maximum(layer.min.abs(), layer.max.abs()))


def test_ranges_change_over_the_timesteps(made):
    # Cross-attention's keys and values read the prompt, which no timestep changes; the rest follows the latents.
    for name, layer in made[0].layers.items():
        varies = (layer.absmax - layer.absmax[:1]).abs().amax() > 1e-4
        assert varies == (not name.endswith("to_kv"))


def test_both_halves_of_the_guidance_are_seen(run, tiny_model):
    captured = {}
    for cfg_scale in (1.0, 3.0):
        rows = []
        hook = tiny_model.network.get_submodule(
            [site.name for site in tiny_model.sites()][3]
        ).register_forward_pre_hook(lambda _module, args, rows=rows: rows.append(len(args[0])))
        captured[cfg_scale] = run(cfg_scale=cfg_scale, steps=2)[0]
        hook.remove()
        assert set(rows) == ({3, 2} if cfg_scale == 1 else {6, 4})
    # The first pass sees the same latents; with guidance the empty prompt's half comes on top, so ranges only widen.
    widened = 0
    for name, one in captured[1.0].layers.items():
        both = captured[3.0].layers[name]
        assert (both.max[0] >= one.max[0] - 1e-4).all()
        assert (both.min[0] <= one.min[0] + 1e-4).all()
        widened += int((both.absmax[0] > one.absmax[0] + 1e-3).sum())
    assert widened > 0


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_change_nothing_beyond_rounding(run, made, batch_size):
    other, _ = run(batch_size=batch_size)
    for name, layer in made[0].layers.items():
        for kind in RANGES:
            ours, theirs = getattr(layer, kind), getattr(other.layers[name], kind)
            # Sampling in other batches agrees to 1e-4 (tests/sampling).
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_more_prompts_only_widen_the_ranges(run, made):
    fewer, _ = run(n_prompts=3)
    for name, layer in made[0].layers.items():
        assert (layer.max >= fewer.layers[name].max).all()
        assert (layer.min <= fewer.layers[name].min).all()


def test_metadata_say_how_it_was_made(made, tiny_model, make_settings, tiny_prompts):
    stats, activation = made
    metadata = stats.metadata
    assert metadata["sampler"] == make_settings().record()
    assert metadata["clip_ids"] == tiny_prompts["clip_id"].tolist()
    assert metadata["seed"] == 2
    assert metadata["overhead"] > 0
    assert metadata["map_layer"] == "model.model.transformer.layers.1.self_attn.to_qkv"
    assert metadata["map_level"] == make_settings().levels(tiny_model.objective).values[2]
    layer = stats.layers[metadata["map_layer"]]
    assert activation.shape[1] == 128
    assert (activation.abs().amax(0) <= layer.absmax[2]).all()


def test_the_model_is_left_without_hooks(run, tiny_model, monkeypatch):
    run(n_prompts=1)

    def fail(*_args):
        raise RuntimeError("mid-way")

    monkeypatch.setattr(type(tiny_model), "denoise", fail)
    with pytest.raises(RuntimeError, match="mid-way"):
        run(n_prompts=1)
    assert not any(module._forward_pre_hooks for module in tiny_model.network.modules())


def test_prompts_longer_than_the_models_longest_clip_are_refused(tiny_model, tiny_prompts, make_settings):
    prompts = tiny_prompts.assign(seconds_total=2.0)
    with pytest.raises(UserError, match=r"at most 1\.024 seconds"):
        calibrate(tiny_model, prompts, settings=make_settings(), seed=0, batch_size=1)


def test_no_prompts_are_refused(run):
    with pytest.raises(UserError, match=r"calibration\.n_prompts"):
        run(n_prompts=0)


def test_the_file_gives_everything_back(made, tmp_path):
    stats, _ = made
    stats.save(tmp_path / "stats.safetensors")
    loaded = ActStats.load(tmp_path / "stats.safetensors")
    assert loaded.metadata == stats.metadata
    assert loaded.levels == stats.levels
    assert set(loaded.layers) == set(stats.layers)
    for name, layer in stats.layers.items():
        assert all(torch.equal(getattr(layer, kind), getattr(loaded.layers[name], kind)) for kind in RANGES)


LAYER = "model.model.transformer.layers.0.ff.ff.2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("levels"), "no `levels`"),
        (lambda tensors: tensors.pop(f"{LAYER}.min"), f"layer {LAYER} lacks"),
        (lambda tensors: tensors.update({f"{LAYER}.max": torch.zeros(3, 512)}), f"layer {LAYER} lacks"),
        (lambda tensors: tensors.update({f"{LAYER}.max": torch.zeros(4)}), f"layer {LAYER} lacks"),
        (lambda tensors: tensors.update({f"{LAYER}.max": torch.full((4, 512), torch.nan)}), "not finite"),
    ],
)
def test_files_that_are_incomplete_are_named(made, tmp_path, change, message):
    path = tmp_path / "stats.safetensors"
    made[0].save(path)
    tensors, metadata = read_tensors(path)
    change(tensors)
    write_tensors(path, tensors, metadata)
    with pytest.raises(DamagedArtifactError, match=message) as caught:
        ActStats.load(path)
    assert str(path) in str(caught.value)


def test_a_file_without_layers_is_named(tmp_path):
    write_tensors(tmp_path / "stats.safetensors", {"levels": torch.ones(2)}, {})
    with pytest.raises(DamagedArtifactError, match="no layers"):
        ActStats.load(tmp_path / "stats.safetensors")
