"""Trains the embedded evaluators: the tagger and the contrastive audio-text pair."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from audioptq.embed.clap_mini import ClapMini
from audioptq.embed.tagger_mini import TaggerMini
from audioptq.files.artifacts import write_tensors
from audioptq.machine.device import best_device
from audioptq.soundscapes import CLASSES, VOCABULARY
from audioptq.train.corpus import Corpus
from audioptq.train.loop import TrainSettings, train

SHORTEST_CROP = 64  # frames: the tagger's window


def augment(log_mel: Tensor) -> Tensor:
    """Random crop in time, level and coloured noise, so that what the networks hear is the sound, not the analysis."""
    length = int(torch.randint(SHORTEST_CROP, log_mel.shape[1] + 1, ()))
    start = int(torch.randint(0, log_mel.shape[1] - length + 1, ()))
    log_mel = log_mel[:, start : start + length].float()
    level = torch.empty(len(log_mel), 1, 1).uniform_(-1.5, 1.5)
    tilt = torch.empty(len(log_mel), 1, 1).uniform_(-0.5, 0.5) * torch.linspace(-1, 1, log_mel.shape[2])
    noise = torch.randn_like(log_mel) * torch.empty(len(log_mel), 1, 1).uniform_(0, 0.6)
    return log_mel + level + tilt + noise


def label_targets(labels: list[str]) -> Tensor:
    """Target distributions `[clips, classes]`: the labels of a clip ("siren|rain") share its probability."""
    targets = torch.zeros(len(labels), len(CLASSES))
    for row, names in enumerate(labels):
        for name in names.split("|"):
            targets[row, CLASSES.index(name)] += 1
    return targets / targets.sum(1, keepdim=True)


def train_tagger(
    corpus: Corpus, output: str | Path, checkpoint: str | Path, settings: TrainSettings, log: Callable[[str], None]
) -> None:
    """Trains `TaggerMini` with cross-entropy against the labels and writes its weights."""
    torch.manual_seed(settings.seed)
    device = best_device()
    tagger = TaggerMini(len(CLASSES)).to(device)
    # A crop of a sequence may miss one of its events, so only whole-clip kinds teach the tagger.
    rows = torch.tensor(corpus.scenes.index[corpus.scenes["kind"] != "followed_by"].to_numpy())
    targets = label_targets(corpus.scenes["labels"].tolist())

    def loss_of(indices: Tensor) -> Tensor:
        chosen = rows[indices]
        logits, _ = tagger.forward_log_mel(augment(corpus.log_mel[chosen]).to(device))
        return F.cross_entropy(logits, targets[chosen].to(device))

    average = train(tagger, loss_of, len(rows), settings, checkpoint, log)
    write_tensors(output, average.state_dict(), {"classes": list(CLASSES), "steps": settings.steps})


def train_clap(
    corpus: Corpus, output: str | Path, checkpoint: str | Path, settings: TrainSettings, log: Callable[[str], None]
) -> None:
    """Trains `ClapMini` with the symmetric contrastive loss and writes its weights."""
    torch.manual_seed(settings.seed)
    device = best_device()
    clap = ClapMini(VOCABULARY).to(device)
    captions = corpus.scenes["caption"].tolist()

    def loss_of(indices: Tensor) -> Tensor:
        log_mel = augment(corpus.log_mel[indices]).to(device)
        return clap.contrastive_loss(log_mel, [captions[index] for index in indices.tolist()])

    average = train(clap, loss_of, len(captions), settings, checkpoint, log)
    write_tensors(output, average.state_dict(), {"vocabulary": list(VOCABULARY), "steps": settings.steps})
