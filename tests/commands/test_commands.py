"""The commands on a tiny model: what they write, what they say, and how they refuse."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from safetensors.torch import save_file

import audioptq
from audioptq.audio.clips import read_clip
from audioptq.calibrate.act_stats import ActStats
from audioptq.cli import main
from audioptq.generate import TextToAudio
from audioptq.sampling.sampler import DEFAULT_SAMPLER, sample

ROOT = Path(__file__).parents[2]
RECIPES = {
    "w4a8_sqd": {
        "weight": {"bits": 4},
        "activation": {"bits": 8},
        "smoothing": {"kind": "timestep"},
        "low_rank": {"rank": 2},
    },
    "w8": {"weight": {"bits": 8}},
}


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """A model directory, a library of recipes, captions, and the model quantized by the command."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "tiny").mkdir()
    (folder / "tiny/model_config.json").write_text(json.dumps(tiny_model.config))
    save_file(
        {k: v.contiguous() for k, v in tiny_model.network.state_dict().items()}, folder / "tiny/model.safetensors"
    )
    library = {"recipes": RECIPES, "sampler": {"steps": 4, "sigma_max": 80.0}}
    (folder / "library.yaml").write_text(yaml.safe_dump(library))
    (folder / "captions.txt").write_text("a dog barks\n\nrain falls\n")
    main(
        ["quantize", str(folder / "tiny"), "w4a8_sqd", "-o", str(folder / "w.safetensors"), "--recipes",
         str(folder / "library.yaml"), "--calibrate", str(folder / "captions.txt"), "--save-stats",
         str(folder / "stats.safetensors")]
    )  # fmt: skip
    return folder


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail with exit code 1; gives back its one paragraph."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert caught.value.code == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("Error: ")
        return error

    return run


def test_a_quantized_file_records_how_it_was_made(folder, capsys):
    main(["inspect", str(folder / "w.safetensors"), "--json", "--verify"])
    described = json.loads(capsys.readouterr().out)
    assert described["bytes"] == (folder / "w.safetensors").stat().st_size
    assert sum(described["components"].values()) + described["header_bytes"] == described["bytes"]
    assert sum(described["parts"].values()) + described["header_bytes"] == described["bytes"]
    assert described["record"]["model"] == "tiny"
    assert described["record"]["sampler"] == DEFAULT_SAMPLER.record() | {"steps": 4, "sigma_max": 80.0}
    assert len(described["record"]["levels"]) == 4
    assert described["verified"] is True
    layers = {layer["name"].removeprefix("model.model.transformer.layers."): layer for layer in described["layers"]}
    assert len(layers) == 14
    feed_forward = layers["0.ff.ff.2"]
    assert (feed_forward["weight_bits"], feed_forward["act_bits"]) == (4, 8)
    assert (feed_forward["rows"], feed_forward["rank"]) == (4, 2)
    rows, columns = feed_forward["shape"]
    n_bytes = rows * columns // 2 + 4 * rows + 2 * 4 * columns + 2 * 2 * (rows + columns) + 2 * rows
    assert feed_forward["n_bytes"] == n_bytes
    assert all(10 < layer["sqnr_db"] < 60 for layer in layers.values())


def test_inspect_has_a_page_for_people(folder, capsys):
    main(["inspect", str(folder / "w.safetensors"), "--layers"])
    text = capsys.readouterr().out
    for words in (
        "W4A8, simulated",
        "4 noise levels from 80 to 0.3",
        "dpmpp-3m-sde, 4 steps",
        "14 quantized",
        "low_rank",
    ):
        assert words in text
    rows = text.partition("\n\n")[2].splitlines()
    assert len(rows) == 1 + 14
    assert rows[0].split()[0] == "layer"
    shares = [float(share) for share in re.findall(r"bytes +([\d.]+)%", text)]
    assert sum(shares) == pytest.approx(200, abs=1)  # components and kinds each make up the whole


def test_inspect_says_how_many_vectors_each_layer_got(folder, capsys, tmp_path):
    recipe = {"weight": {"bits": 4}, "activation": {"bits": 8}}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump(recipe | {"smoothing": {"kind": "grouped", "groups": "auto", "tolerance": 0.1}})
    )
    path = tmp_path / "w.safetensors"
    main(
        ["quantize", str(folder / "tiny"), str(tmp_path / "mine.yaml"), "-o", str(path), "--stats",
         str(folder / "stats.safetensors")]
    )  # fmt: skip
    capsys.readouterr()
    main(["inspect", str(path), "--json"])
    described = json.loads(capsys.readouterr().out)
    counts = Counter(layer["rows"] for layer in described["layers"])
    # Keys and values of the cross-attention see the same captions at every timestep, other layers do not.
    assert len(counts) > 1
    static = [layer for layer in described["layers"] if layer["rows"] == 1]
    assert {layer["name"] for layer in static} == set(described["record"]["recipe"]["layers"]["overrides"])
    main(["inspect", str(path)])
    text = capsys.readouterr().out
    listed = ", ".join(f"{rows} in {counts[rows]}" for rows in sorted(counts))
    assert f"smoothing:  vectors per layer: {listed} of 14 layers" in text
    assert (
        f'"overrides": {{}}}}, "dtype": "float32", "rest_dtype": "float16"}}; {len(static)} layers with settings'
        in text
    )


def test_statistics_are_kept_for_other_recipes(folder, capsys, monkeypatch, tmp_path):
    assert ActStats.load(folder / "stats.safetensors").metadata["sampler"]["steps"] == 4
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text((folder / "library.yaml").read_text())  # found without being named
    main(
        [
            "quantize",
            str(folder / "tiny"),
            "w4a8_sqd",
            "-o",
            "again.safetensors",
            "--stats",
            str(folder / "stats.safetensors"),
        ]
    )
    assert "14 of 14 layers quantized" in capsys.readouterr().out
    assert Path("again.safetensors").read_bytes() == (folder / "w.safetensors").read_bytes()
    Path("mine.yaml").write_text("weight: {bits: 3}\n")
    main(["quantize", str(folder / "tiny"), "mine.yaml", "-o", "mine.safetensors", "--name", "other"])
    main(["inspect", "mine.safetensors"])
    text = capsys.readouterr().out
    assert "mine (W3A32, float)" in text
    assert "model:      other" in text
    assert "any will do" in text


def test_a_clip_is_what_the_workflow_would_make(folder, tmp_path, capsys):
    out = tmp_path / "out.flac"
    caption = "a dog barks while rain falls"
    arguments = ["generate", str(folder / "w.safetensors"), caption, "-o", str(out)]
    main([*arguments, "--seconds", "0.5", "--clip-id", "7", "--seed", "3"])
    said = capsys.readouterr().out
    for words in (str(out), "0.50 s at 16000 Hz", "tiny w4a8_sqd (W4A8, simulated)", "4 steps", "guidance 3", "seed 3"):
        assert words in said
    generator = TextToAudio.load(folder / "w.safetensors")
    latents = sample(generator.model, [caption], [0.5], clip_ids=["7"], seed=3, settings=generator.sampler)
    expected = generator.model.decode(latents, 8000)[0].numpy()
    audio, rate = read_clip(out)
    assert (rate, audio.shape) == (16000, (1, 8000))
    np.testing.assert_allclose(audio, expected / np.abs(expected).max(), atol=2.0**-22)
    assert soundfile.info(out).subtype == "PCM_24"
    main(
        [
            *arguments[:-1],
            str(tmp_path / "out.wav"),
            "--seconds",
            "0.5",
            "--bit-depth",
            "16",
            "--count",
            "2",
            "--seed",
            "3",
        ]
    )
    clips = [tmp_path / "out-3.wav", tmp_path / "out-4.wav"]
    assert [soundfile.info(clip).format for clip in clips] == ["WAV", "WAV"]
    assert [soundfile.info(clip).subtype for clip in clips] == ["PCM_16", "PCM_16"]
    assert clips[0].read_bytes() != clips[1].read_bytes()


def test_how_products_run_is_said(folder, tmp_path, capsys):
    arguments = ["generate", str(folder / "w.safetensors"), "rain", "-o", str(tmp_path / "out.wav"), "--seconds", "0.1"]
    main(arguments)
    assert "w.safetensors in" in (said := capsys.readouterr().err)
    assert "compute simulated" in said
    main([*arguments, "--compute", "integer"])
    assert "quantized layers multiply integers" in capsys.readouterr().err


def test_a_file_that_is_there_is_replaced_and_unknown_words_are_named(folder, tmp_path, capsys):
    out = tmp_path / "out.wav"
    out.write_text("old")
    main(
        ["generate", str(folder / "w.safetensors"), "a zebra barks and zwitschert", "-o", str(out), "--seconds", "0.1"]
    )
    assert "does not know these words, and does not hear them: zebra, zwitschert." in capsys.readouterr().err
    assert soundfile.info(out).frames == 1600


def test_mistakes_of_generating_are_one_paragraph(folder, tmp_path, refused):
    weights, out = folder / "w.safetensors", tmp_path / "out.flac"
    assert "out.mp3 ends in '.mp3'" in refused("generate", "none", "a", "-o", "out.mp3")
    assert ".flac or .wav" in refused("generate", "none", "a", "-o", "out")
    assert "none.safetensors" in refused("generate", "none.safetensors", "a", "-o", out)
    assert "is a folder" in refused("generate", folder, "a", "-o", out)
    assert "no whole safetensors file" in refused("generate", folder / "captions.txt", "a", "-o", out)
    assert "no quantized model" in refused("generate", folder / "tiny/model.safetensors", "a", "-o", out)
    assert "at most 1.024 seconds" in refused("generate", weights, "a dog", "-o", out, "--seconds", "9")
    assert "nearest calibrated level" in refused("generate", weights, "a dog", "-o", out, "--steps", "7")
    assert "the samplers are" in refused("generate", weights, "a dog", "-o", out, "--sampler", "heun")
    assert "does not go with this model" in refused("generate", weights, "a dog", "-o", out, "--sampler", "ddim")
    assert "has no T5 text encoder" in refused("generate", weights, "a dog", "-o", out, "--text-encoder", folder)
    assert not out.exists()


def test_mistakes_of_quantizing_are_one_paragraph(folder, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, library = folder / "tiny", ["--recipes", folder / "library.yaml"]
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "bits.yaml").write_text("weight: {bits: 5}\n")
    target = ["-o", "x.safetensors"]
    assert "config.yaml is not here" in refused("quantize", model, "w8", *target)
    assert "Did you mean 'w8'?" in refused("quantize", model, "w88", *target, *library)
    assert "needs activation statistics" in refused("quantize", model, "w4a8_sqd", *target, *library)
    assert "holds no captions" in refused("quantize", model, "w8", *target, *library, "--calibrate", "empty.txt")
    assert "no.txt cannot be read" in refused("quantize", model, "w8", *target, *library, "--calibrate", "no.txt")
    assert "holds no mapping" in refused("quantize", model, "list.yaml", *target)
    assert "legal values are 8, 4, 3, 2" in refused("quantize", model, "bits.yaml", *target)
    assert "no.yaml cannot be read" in refused("quantize", model, "no.yaml", *target)
    assert "is of no family that is known here" in refused("quantize", tmp_path, "w8", *target, *library)
    assert "give --calibrate as well" in refused("quantize", model, "w8", *target, *library, "--save-stats", "s")
    stats = ["--stats", folder / "captions.txt"]
    assert "captions.txt cannot be read" in refused("quantize", model, "w4a8_sqd", *target, *library, *stats)
    assert not Path("x.safetensors").exists()


def test_damage_is_found_by_inspect_only_when_it_reads(folder, tmp_path, refused, capsys):
    content = bytearray((folder / "w.safetensors").read_bytes())
    content[-1] ^= 1
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    main(["inspect", str(path)])
    assert "do not match the digest" in refused("inspect", path, "--verify")
    assert "do not match the digest" in refused("generate", path, "a dog", "-o", tmp_path / "out.wav")
    path.write_bytes(content[: len(content) // 2])
    assert str(path) in refused("inspect", path)


def test_the_command_says_its_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == f"audioptq {audioptq.__version__}"


def test_the_default_sampler_is_that_of_the_config():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert DEFAULT_SAMPLER.record() == config["sampler"]


@pytest.mark.parametrize("page", ["README.md", "docs/using.md"])
def test_the_documented_python_runs(page, folder, tmp_path, monkeypatch):
    text = (ROOT / page).read_text(encoding="utf-8")
    source = re.search(r"^```python\n(from audioptq\.generate .*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert source is not None
    monkeypatch.chdir(tmp_path)
    Path("weights.safetensors").symlink_to(folder / "w.safetensors")
    exec(source[1].replace("seconds=4", "seconds=0.2"), {})
    assert soundfile.info("out.flac").frames == 3200
