"""The card: every measured number on its page, and numbers that mean what the page says."""

import pytest
import torch
from torch.nn import functional as F

from audioptq.soundscapes import CLASSES, draw_scene, render
from audioptq.train.card import card_page, measure_card
from audioptq.train.publish import Trained

CARD = {
    "n_clips": 168,
    "n_classes": 28,
    "tagger_accuracy_fp32": 0.87543,
    "fd_fp32": 12.3456,
    "parameters_denoiser": 9123456,
    "sampler": "dpmpp-3m-sde, 16 steps",
    "command": "snakemake --cores all train_mini",
    "any_other_key": 1.0,
}


def test_every_key_and_number_is_on_the_page():
    page = card_page(CARD)
    for key, value in CARD.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        assert f"| {key} | {shown} |" in page.splitlines()


class Knowing(torch.nn.Module):
    """Evaluators that recognise the references exactly: the best case, and the same windows for every sound of a class."""

    def __init__(self, references):
        super().__init__()
        self.references = references

    def forward(self, audio):
        nearest = torch.cdist(audio, self.references).argmin(1) % len(CLASSES)
        one_hot = F.one_hot(nearest, len(CLASSES)).float()
        return one_hot, one_hot[:, None, :4].repeat(1, 3, 1) + 0.1 * audio[:, :12].reshape(-1, 3, 4)

    def embed_audio(self, audio):
        return self(audio)[0]

    def embed_text(self, captions):
        return F.one_hot(torch.arange(len(captions)) % len(CLASSES), len(CLASSES)).float()


def test_a_model_that_returns_the_references_has_the_best_card(tiny_model, make_settings, monkeypatch):
    n_clips = 2 * len(CLASSES)
    scenes = [
        draw_scene(i, split="evaluation", seed=5, kind="single", label=CLASSES[i % len(CLASSES)], seconds_total=1.0)
        for i in range(n_clips)
    ]
    references = torch.stack([torch.from_numpy(render(scene)) for scene in scenes])
    knowing = Knowing(references)
    monkeypatch.setattr("audioptq.train.card.CLIP_SECONDS", 1.0)
    monkeypatch.setattr("audioptq.train.card._generate", lambda *_args: references)
    card = measure_card(Trained(tiny_model, knowing, knowing), make_settings(), n_clips=n_clips, seed=5)
    assert card["tagger_accuracy_reference"] == card["tagger_accuracy_fp32"] == 1
    assert card["tagger_accuracy_chance"] == pytest.approx(1 / 28)
    assert card["clap_matched"] == 1
    assert card["clap_shuffled"] == 0  # always another class
    assert card["fd_fp32"] == pytest.approx(0, abs=1e-6)
    assert card["fd_noise"] > 0.01
    assert card["fd_other"] > 0.01
    assert card["parameters_denoiser"] == sum(p.numel() for p in tiny_model.network.model.parameters())
    assert "| fd_noise |" in card_page(card)
