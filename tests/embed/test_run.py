"""Evaluators over clips and captions: rows that follow the clips, and clips that cannot be heard named."""

import numpy as np
import pytest
import torch

from audioptq.audio.clips import read_clip, write_clip
from audioptq.embed.cache import cached_rows, evaluator_digest, keep
from audioptq.embed.clap_mini import ClapMini
from audioptq.embed.mini import mono_batch
from audioptq.embed.run import CLIPS_PER_BATCH, embed_captions, embed_clips, load_evaluator
from audioptq.embed.tagger_mini import TaggerMini
from audioptq.errors import DamagedArtifactError, UserError
from audioptq.files.artifacts import write_tensors

CLASSES = ["dog", "rain", "siren"]
VOCABULARY = ["a", "dog", "barks", "rain"]
NAMES = ("tagger_mini", "clap_mini")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of both evaluators with seeded random weights."""
    folder = tmp_path_factory.mktemp("evaluators")
    torch.manual_seed(6)
    write_tensors(folder / "tagger_mini", TaggerMini(len(CLASSES)).state_dict(), {"classes": CLASSES})
    write_tensors(folder / "clap_mini", ClapMini(VOCABULARY).state_dict(), {"vocabulary": VOCABULARY})
    return {name: folder / name for name in NAMES}


@pytest.fixture(scope="module", params=NAMES)
def named(request, weights):
    """An evaluator's id and the evaluator."""
    return request.param, load_evaluator(request.param, {key: str(path) for key, path in weights.items()})


@pytest.fixture(scope="module")
def tagger(weights):
    return load_evaluator("tagger_mini", weights)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, sine):
    """Five clips: tones, noise, a short one and a silent one."""
    folder = tmp_path_factory.mktemp("clips")
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 40000))
    sounds = {
        "low": sine(200, 2.5),
        "high": sine(3000, 2.5),
        "mute": np.zeros((1, 40000)),
        "noise": noise,
        "short": sine(900, 0.3),
    }
    rows = []
    for clip_id, audio in sounds.items():
        record = write_clip(folder / f"{clip_id}.flac", audio, 16000, 24)
        rows.append({"clip_id": clip_id, "path": record.path, "status": record.status})
    return rows


def rows_of(tensors, metadata, clip_id):
    row = metadata["clip_ids"].index(clip_id)
    found = {name: tensor[row] for name, tensor in tensors.items() if name not in ("windows", "window_row")}
    if "windows" in tensors:
        found["windows"] = tensors["windows"][tensors["window_row"] == row]
    return found


def test_a_clips_embedding_does_not_depend_on_the_order(named, clips):
    forward, backward = embed_clips(*named, clips, "test"), embed_clips(*named, clips[::-1], "test")
    assert backward[1]["clip_ids"] == [clip["clip_id"] for clip in clips[::-1]]
    for clip in clips:
        ours, theirs = (rows_of(*each, clip["clip_id"]) for each in (forward, backward))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_different_sounds_have_different_embeddings(named, clips):
    made = embed_clips(*named, clips, "test")
    for name in {"logits", "audio"} & set(made[0]):
        vectors = [rows_of(*made, clip_id)[name] for clip_id in ("low", "high", "noise", "short")]
        for first in range(4):
            for second in range(first):
                assert not torch.allclose(vectors[first], vectors[second], atol=1e-3)


def test_silent_clips_are_named_and_have_no_vector(named, clips):
    tensors, metadata = embed_clips(*named, clips, "test")
    assert metadata["excluded"] == {"mute": "silent"}
    for name, rows in rows_of(tensors, metadata, "mute").items():
        assert len(rows) == 0 if name == "windows" else not rows.any()
    assert rows_of(tensors, metadata, "low").keys() == rows_of(tensors, metadata, "mute").keys()


def test_a_set_of_nothing_but_silence_keeps_its_shape(named, clips):
    mute = [clips[2], {**clips[2], "clip_id": "worse", "status": "non_finite"}]
    tensors, metadata = embed_clips(*named, mute, "test")
    usual = embed_clips(*named, clips, "test")[0]
    assert metadata["excluded"] == {"mute": "silent", "worse": "non_finite"}
    for name, tensor in tensors.items():
        assert tensor.shape[1:] == usual[name].shape[1:]
        assert len(tensor) == (0 if name in ("windows", "window_row") else 2)
        assert tensor.dtype == usual[name].dtype


def test_the_files_of_unusable_clips_are_not_even_opened(named, clips):
    embed_clips(*named, [clips[0], {"clip_id": "gone", "path": "absent.flac", "status": "non_finite"}], "test")
    with pytest.raises(DamagedArtifactError, match=r"absent\.flac"):
        embed_clips(*named, [{"clip_id": "gone", "path": "absent.flac", "status": "ok"}], "test")


def test_clips_without_a_file_are_named(named, clips):
    tensors, metadata = embed_clips(*named, [{"clip_id": "no reference", "path": None}, clips[0]], "test")
    assert metadata["excluded"] == {"no reference": "no audio"}
    alone, _ = embed_clips(*named, clips[:1], "test")
    for name in {"logits", "audio"} & set(tensors):
        assert not tensors[name][0].any()
        assert torch.equal(tensors[name][1], alone[name][0])


def test_the_tagger_gives_windows_that_overlap_by_half(tagger, clips):
    tensors, metadata = embed_clips("tagger_mini", tagger, clips, "test")
    # 40000 samples are 156 frames of 256: windows of 64 frames every 32; the short clip is padded to 2 s, 125 frames.
    counts = torch.bincount(tensors["window_row"], minlength=5).tolist()
    assert counts == [3, 3, 0, 3, 2]
    first = tagger.network(mono_batch(*read_clip(clips[0]["path"]))[:, : 64 * 256])[1][0]
    inner = tensors["windows"][tensors["window_row"] == 0][0]
    # The same second of sound: only the last frame's padding differs.
    torch.testing.assert_close(inner, first[0], rtol=0.05, atol=0.02)
    assert metadata["classes"] == CLASSES


def test_clap_vectors_have_unit_length(weights, clips):
    clap = load_evaluator("clap_mini", weights)
    audio = embed_clips("clap_mini", clap, [clip for clip in clips if clip["status"] == "ok"], "test")[0]["audio"]
    text, metadata = embed_captions("clap_mini", clap, ["1", "2"], ["a dog barks", "purple rain"])
    for vectors in (audio, text["text"]):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(vectors)))
    assert metadata["clip_ids"] == ["1", "2"]
    assert metadata["dropped_words"] == [0, 1]
    alone, _ = embed_captions("clap_mini", clap, ["2"], ["purple rain"])
    assert torch.equal(alone["text"][0], text["text"][1])


def test_captions_without_a_known_word_still_have_a_vector(weights):
    clap = load_evaluator("clap_mini", weights)
    text, metadata = embed_captions("clap_mini", clap, ["1"], ["дождь"])
    assert torch.isfinite(text["text"]).all()
    assert metadata["dropped_words"] == [0]  # none of its letters make a word here


@pytest.mark.parametrize("sample_rate", [8000, 44100, 48000])
def test_other_sample_rates_are_resampled(sine, sample_rate):
    tone = sine(440, 3.0, sample_rate=sample_rate).astype(np.float32)
    mono = mono_batch(np.concatenate([tone, tone]), sample_rate)
    assert mono.shape == (1, 48000)
    expected = sine(440, 3.0)[0]
    # Away from the ends, where the resampling filter reaches past the sound.
    np.testing.assert_allclose(mono[0, 2000:-2000].numpy(), expected[2000:-2000], atol=2e-3)


def test_stereo_is_averaged_and_short_clips_padded(sine):
    tone = sine(440, 0.5).astype(np.float32)
    mono = mono_batch(np.concatenate([tone, 0 * tone]), 16000)[0].numpy()
    np.testing.assert_allclose(mono[:8000], tone[0] / 2, atol=1e-6)
    assert len(mono) == 32000
    assert not mono[8000:].any()


def test_the_evaluator_is_ready_and_its_embeddings_say_whose_they_are(named, clips):
    name, evaluator = named
    assert not evaluator.network.training
    assert not any(parameter.requires_grad for parameter in evaluator.network.parameters())
    assert embed_clips(*named, clips[:1], "test")[1]["embedder"] == name


def test_files_of_something_else_are_named(weights, tmp_path):
    with pytest.raises(UserError, match=r"no evaluator 'clap_min'\. Did you mean 'clap_mini'"):
        load_evaluator("clap_min", weights)
    with pytest.raises(UserError, match="no variant 'maxi'; it has mini"):
        load_evaluator("clap_mini", weights, "maxi")
    for name, other in zip(NAMES, NAMES[::-1], strict=True):
        with pytest.raises(DamagedArtifactError, match=f"does not hold the evaluator {name}"):
            load_evaluator(name, {name: weights[other]})
    write_tensors(tmp_path / "a", TaggerMini(5).state_dict(), {"classes": CLASSES})
    with pytest.raises(DamagedArtifactError, match="does not hold the evaluator tagger_mini"):
        load_evaluator("tagger_mini", {"tagger_mini": tmp_path / "a"})
    (tmp_path / "b").write_bytes(weights["tagger_mini"].read_bytes()[:1000])
    with pytest.raises(DamagedArtifactError, match="cannot be read"):
        load_evaluator("tagger_mini", {"tagger_mini": tmp_path / "b"})


@pytest.mark.parametrize(("value", "found"), [(float("nan"), "not finite"), (0.0, "same for a tone and for noise")])
def test_a_network_that_hears_nothing_is_refused_before_it_scores(weights, tmp_path, value, found):
    tensors = TaggerMini(len(CLASSES)).state_dict()
    tensors["backbone.project.weight"].fill_(value)
    write_tensors(tmp_path / "deaf", tensors, {"classes": CLASSES})
    with pytest.raises(DamagedArtifactError, match=f"tagger_mini failed its self-test: .*{found}"):
        load_evaluator("tagger_mini", {"tagger_mini": tmp_path / "deaf"})


def test_clips_that_share_a_file_share_its_row_and_its_windows_count_once(tagger, clips):
    shared = [{"clip_id": name, "path": clips[0]["path"]} for name in ("b", "a")]
    tensors, _ = embed_clips("tagger_mini", tagger, [*shared, {"clip_id": "c", "path": clips[1]["path"]}], "test")
    assert torch.equal(tensors["logits"][0], tensors["logits"][1])
    assert tensors["window_row"].tolist() == [1, 1, 1, 2, 2, 2]  # "a" comes first by name


class Counting:
    """An evaluator that counts the clips it embeds."""

    def __init__(self, evaluator):
        self.evaluator, self.metadata, self.n_clips = evaluator, evaluator.metadata, 0

    def embed(self, clips):
        self.n_clips += len(clips)
        return self.evaluator.embed(clips)


def test_a_rerun_embeds_only_the_batches_whose_audio_changed(named, clips, tmp_path, sine):
    name, evaluator = named
    many = [{"clip_id": str(index), "path": str(tmp_path / f"{index}.flac")} for index in range(CLIPS_PER_BATCH + 3)]
    for index, clip in enumerate(many):
        write_clip(clip["path"], sine(300 + 50 * index, 2.5), 16000, 24)
    output, made_by = tmp_path / "out.safetensors", evaluator_digest(name, None, [], [])
    assert cached_rows(output, made_by) == {}
    tensors, metadata = embed_clips(name, evaluator, many, "test", {})
    write_tensors(output, tensors, {**metadata, "made_by": made_by})
    keep(output)
    output.unlink()  # as Snakemake does before a rerun
    write_clip(many[-1]["path"], sine(2000, 2.5), 16000, 24)
    counting = Counting(evaluator)
    again, _ = embed_clips(name, counting, many, "test", cached_rows(output, made_by))
    assert counting.n_clips == 3
    key = "logits" if "logits" in again else "audio"
    assert torch.equal(again[key][:-1], tensors[key][:-1])
    assert not torch.equal(again[key][-1], tensors[key][-1])
    assert cached_rows(output, "another network") == {}
    (tmp_path / ".out.safetensors.kept").write_bytes(b"cut off")
    assert cached_rows(output, made_by) == {}


def test_the_contrastive_loss_is_least_when_captions_match(weights):
    clap = load_evaluator("clap_mini", weights)
    vectors = torch.nn.functional.normalize(torch.randn(3, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    captions = ["a dog", "rain", "a dog"]
    vectors[2] = vectors[0]
    clap = clap.network
    clap.embed_log_mel = lambda order: vectors[order]
    clap.embed_text = lambda names: vectors[[captions.index(name) for name in names]]
    matched, mixed = (float(clap.contrastive_loss(torch.tensor(order), captions)) for order in ([0, 1, 2], [1, 0, 2]))
    assert matched < mixed
    # With equal captions as matches of each other, the least value is that of a tie: both pairs of the equal captions.
    similarity = vectors @ vectors.T * clap.log_temperature.exp()
    target = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    assert matched == pytest.approx(float(-(target * similarity.log_softmax(1)).sum(1).mean()), rel=1e-5)
