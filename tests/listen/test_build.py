"""What `listen build` makes from a run: the folder, the key, and what neither of them gives away."""

import base64
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import soundfile

from audioptq.errors import DamagedArtifactError, UserError
from audioptq.listen.build import TestSettings, build_test, key_path, read_plan
from audioptq.listen.key import TestKey
from audioptq.listen.stimuli.loudness import integrated_loudness


def quiet(text):
    """Says nothing."""


def audio_of(folder, token):
    """Audio `[channels, samples]` as the page gets it, and its sample rate."""
    text = (folder / "clips" / f"{token}.js").read_text()
    name, content = json.loads("[" + text.removeprefix("listenClip(").removesuffix(");\n") + "]")
    assert name == token
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), always_2d=True)
    return audio.T, rate


def test_the_papers_design_is_the_default(built):
    _, key = built["rating"]
    assert key.recipes == ["fp32", "w8a8_sqs", "w8a8_sqd_lora"]
    assert len(key.questions) == 15
    asked = {(key.clips[token]["clip_id"], key.clips[token]["variant"]) for q in key.questions for token in q["rated"]}
    assert len(asked) == 15
    assert len({clip_id for clip_id, _ in asked}) == 5
    # "dog|rain" shares its classes with two others, so that five of different classes do without it or without both of those.
    captions = set(key.prompts.values())
    assert not ({"A dog in the rain"} <= captions and {"A dog barks", "Rain falls"} & captions)


def test_mushra_has_a_hidden_reference_and_both_anchors(built):
    folder, key = built["mushra"]
    assert len(key.questions) == 5
    for question in key.questions:
        variants = sorted(key.clips[token]["variant"] for token in question["rated"])
        assert variants == ["anchor_3k5", "anchor_7k", "fp32", "w8a8_sqd_lora", "w8a8_sqs"]
        hidden = next(token for token in question["rated"] if key.clips[token]["variant"] == "fp32")
        assert question["reference"][0] != hidden
        np.testing.assert_array_equal(audio_of(folder, hidden)[0], audio_of(folder, question["reference"][0])[0])


def test_abx_hides_which_of_the_two_x_is(built):
    _, key = built["abx"]
    assert len(key.questions) == 5 * 2 * 2  # prompts, recipes, repeats
    for question in key.questions:
        tokens = [*question["pair"], *question["x"]]
        assert len(set(tokens)) == 4
        assert sorted(key.clips[token]["variant"] == "fp32" for token in tokens) == [False, False, True, True]


@pytest.mark.parametrize("mode", ["rating", "mushra", "abx"])
def test_variants_of_a_prompt_are_equally_loud_and_unclipped(built, mode):
    folder, key = built[mode]
    loudness = {}
    for token, clip in key.clips.items():
        audio, rate = audio_of(folder, token)
        assert np.abs(audio).max() < 1
        loudness.setdefault(clip["clip_id"], []).append(integrated_loudness(audio, rate))
        assert loudness[clip["clip_id"]][-1] == pytest.approx(clip["loudness_lufs"], abs=0.01)
    assert len(loudness) == 5
    for found in loudness.values():
        assert max(found) - min(found) < 0.5  # the bar; the build holds 0.1


def test_level_changes_are_recorded_from_the_generated_clip_on(results, built):
    folder, key = built["rating"]
    for token, clip in key.clips.items():
        heard, rate = audio_of(folder, token)
        source = results / "generate/toy" / clip["variant"] / "seed7/clips" / f"{clip['clip_id']}.flac"
        stored, _ = soundfile.read(source, always_2d=True)
        assert clip["gain_db"] == pytest.approx(clip["loudness_lufs"] - clip["generated_lufs"], abs=0.06)
        # The stored clip was normalised to its peak; both changes together lead from the generated one to what is heard.
        ratio = 20 * np.log10(np.abs(heard).max() / np.abs(stored).max())
        assert ratio == pytest.approx(clip["loudness_lufs"] - integrated_loudness(stored.T, rate), abs=0.06)


def test_rate_channels_and_length_are_as_generated(tools, tmp_path):
    results = tools.make_run(tmp_path / "results", channels=2, rate=44_100, seconds=0.7)
    key = build_test(results, tmp_path / "test", TestSettings(n_prompts=2), say=quiet)
    for token in key.clips:
        audio, rate = audio_of(tmp_path / "test", token)
        assert (audio.shape, rate) == ((2, 30_870), 44_100)
        assert soundfile.info(io.BytesIO(_flac(tmp_path / "test", token))).subtype == "PCM_24"


def _flac(folder, token):
    text = (folder / "clips" / f"{token}.js").read_text()
    return base64.b64decode(text.split('"')[3])


def test_nothing_that_listeners_get_says_which_file_is_which(built):
    for folder, key in built.values():
        everything = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
        for secret in (*key.recipes, *key.prompts, "anchor_", key.secret, "generate", "seed7"):
            assert secret.encode() not in everything, secret
        assert len({path.stat().st_mtime for path in folder.rglob("*")}) == 1
        assert not any("key" in path.name for path in folder.rglob("*"))
        for path in (folder / "clips").iterdir():
            tags = soundfile.SoundFile(io.BytesIO(_flac(folder, path.stem))).copy_metadata()
            assert not tags


def test_tokens_cannot_be_computed_from_the_seed(results, tmp_path):
    keys = [build_test(results, tmp_path / name, TestSettings(seed=3), say=quiet) for name in ("one", "two")]
    assert set(keys[0].prompts) == set(keys[1].prompts)  # the seed decides the prompts
    assert not set(keys[0].clips) & set(keys[1].clips)
    other = build_test(results, tmp_path / "three", TestSettings(seed=4), say=quiet)
    assert set(other.prompts) != set(keys[0].prompts)


def test_order_in_the_plan_says_nothing(results, built):
    for _, key in built.values():
        for question in key.questions:
            for place in ("rated", "pair", "x"):
                assert question.get(place, []) == sorted(question.get(place, []))
        ids = [question["id"] for question in key.questions]
        assert ids == sorted(ids)
        assert len(set(ids)) == len(ids)


def test_a_hostile_caption_stays_data(results, tools, tmp_path):
    build_test(
        results, tmp_path / "test", TestSettings(prompts=["clip-4"], title="</title><script>1</script>"), say=quiet
    )
    page = (tmp_path / "test/index.html").read_text(encoding="utf-8")
    assert page.count("<script>") == 1
    assert page.count("</script>") == 2
    assert read_plan(tmp_path / "test")["questions"][0]["caption"] == tools.hostile


def test_silent_clips_are_never_asked_about_and_said(tools, tmp_path):
    silent = [("w8a8_sqs", index) for index in range(4)]
    results = tools.make_run(tmp_path / "results", silent=silent)
    said = []
    key = build_test(results, tmp_path / "test", TestSettings(n_prompts=3), say=said.append)
    assert set(key.prompts) == {"clip-4", "clip-5", "clip-6"}
    assert key.facts["unusable_clips"] == {"fp32": 0, "w8a8_sqs": 4, "w8a8_sqd_lora": 0}
    assert any("w8a8_sqs: 4 of 7 clips are silent" in text for text in said)
    with pytest.raises(UserError, match="Only 3 of 7 prompts have a clip with sound"):
        build_test(results, tmp_path / "more", TestSettings(), say=quiet)
    with pytest.raises(UserError, match="w8a8_sqs has no clip with sound of the prompt 'clip-1'"):
        build_test(results, tmp_path / "more", TestSettings(prompts=["clip-1"]), say=quiet)


def test_a_low_rate_does_without_the_high_anchor(tools, tmp_path):
    results = tools.make_run(tmp_path / "results", rate=12_000)
    said = []
    key = build_test(results, tmp_path / "test", TestSettings(mode="mushra", n_prompts=2), say=said.append)
    assert key.facts["anchors"] == ["anchor_3k5"]
    assert any("anchor_7k is left out" in text for text in said)


def test_nothing_is_overwritten(results, built):
    folder, _ = built["rating"]
    with pytest.raises(UserError, match="exists already"):
        build_test(results, folder, TestSettings(), say=quiet)


def test_what_fails_leaves_nothing(results, tools, tmp_path):
    broken = tools.make_run(tmp_path / "results")
    (broken / "generate/toy/fp32/seed7/clips/clip-2.flac").write_bytes(b"no audio")
    with pytest.raises(DamagedArtifactError, match="clip-2"):
        build_test(broken, tmp_path / "test", TestSettings(prompts=["clip-2"]), say=quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"recipes": ["w8a8_sq"]}, "no clips of the recipe 'w8a8_sq'.*Did you mean 'w8a8_sqs'"),
        ({"recipes": ["fp32"]}, "nothing to compare"),
        ({"prompts": ["clip-9"]}, "no prompt 'clip-9'"),
        ({"noise_seed": 8}, "no clips of fp32 with seed 8; it has 7"),
        ({"model": "toys"}, "no clips of 'toys'; it has toy. Did you mean 'toy'"),
    ],
)
def test_mistakes_are_said(results, tmp_path, settings, text):
    with pytest.raises(UserError, match=text):
        build_test(results, tmp_path / "test", TestSettings(**settings), say=quiet)


def test_no_run_is_said(tmp_path):
    with pytest.raises(UserError, match="holds no generated clips"):
        build_test(tmp_path, tmp_path / "test", TestSettings(), say=quiet)


def test_the_key_reads_back_and_an_altered_one_is_found(built, tmp_path):
    folder, key = built["mushra"]
    assert TestKey.read(key_path(folder)) == key
    assert key_path(folder).stat().st_mode & 0o077 == 0
    altered = key_path(folder).read_text().replace('"anchor_3k5"', '"anchor_7k"', 1)
    (tmp_path / "altered.key.json").write_text(altered)
    with pytest.raises(DamagedArtifactError, match=r"altered\.key\.json cannot be used"):
        TestKey.read(tmp_path / "altered.key.json")
    with pytest.raises(DamagedArtifactError, match="missing"):
        TestKey.read(tmp_path / "absent.key.json")


def test_tests_differ_in_stamp_and_secret(built):
    for one, other in itertools.combinations([key for _, key in built.values()], 2):
        assert one.stamp != other.stamp
        assert one.secret != other.secret


def test_a_seed_of_full_precision_alone_is_passed_over(results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    folder = tmp_path / "results/generate/toy/fp32"
    shutil.copytree(folder / "seed7", folder / "seed6")
    assert build_test(tmp_path / "results", tmp_path / "test", TestSettings(), say=quiet).facts["noise_seed"] == 7
    with pytest.raises(UserError, match="holds clips of fp32 alone"):
        build_test(tmp_path / "results", tmp_path / "other", TestSettings(noise_seed=6), say=quiet)
