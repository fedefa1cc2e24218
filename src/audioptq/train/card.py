"""The model card of `mini`: what it and its evaluators do on held-out captions, measured and never written by hand."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from audioptq.sampling.sampler import SamplerSettings, sample
from audioptq.score.frechet.frechet import frechet_distance
from audioptq.soundscapes import CLASSES, draw_scene, render
from audioptq.train.corpus import CLIP_SECONDS
from audioptq.train.publish import Trained

BATCH_SIZE = 28
COMMAND = "snakemake --cores all train_mini"


def measure_card(trained: Trained, settings: SamplerSettings, *, n_clips: int, seed: int) -> dict[str, Any]:
    """Measures on single-event captions of the evaluation split, the classes in turn.

    `tagger_accuracy_*` is the share of clips whose largest logit is the captioned class; `clap_*` are mean cosines of
    generated clips with their own captions and with those of the clip half the classes further on; `fd_*` are Fréchet distances
    of the tagger's windows to those of the references: of generated clips, of white noise at the references' levels, and
    between the references of the first half and the second half of the classes.
    """
    labels = [index % len(CLASSES) for index in range(n_clips)]
    scenes = [
        draw_scene(
            index, split="evaluation", seed=seed, kind="single", label=CLASSES[label], seconds_total=CLIP_SECONDS
        )
        for index, label in enumerate(labels)
    ]
    references = torch.from_numpy(np.stack([render(scene) for scene in scenes]))
    captions = [scene.caption for scene in scenes]
    generated = _generate(trained, captions, settings, seed)
    noise = torch.randn(references.shape, generator=torch.Generator().manual_seed(seed)) * references.std(
        1, keepdim=True
    )
    heard = {"reference": references, "fp32": generated, "noise": noise}
    with torch.inference_mode():
        tagged = {name: trained.tagger(audio) for name, audio in heard.items()}
        audio_vectors, text_vectors = trained.clap.embed_audio(generated), trained.clap.embed_text(captions)
    target = torch.tensor(labels)
    accuracy = {name: float((logits.argmax(1) == target).float().mean()) for name, (logits, _) in tagged.items()}
    windows = {name: embedding.flatten(0, 1).numpy() for name, (_, embedding) in tagged.items()}
    first_half = (target < len(CLASSES) // 2).repeat_interleave(tagged["reference"][1].shape[1]).numpy()
    shuffled = text_vectors.roll(-(len(CLASSES) // 2), 0)  # classes come in turn: always another class
    return {
        "n_clips": n_clips,
        "n_classes": len(CLASSES),
        "tagger_accuracy_reference": accuracy["reference"],
        "tagger_accuracy_fp32": accuracy["fp32"],
        "tagger_accuracy_chance": 1 / len(CLASSES),
        "clap_matched": float((audio_vectors * text_vectors).sum(1).mean()),
        "clap_shuffled": float((audio_vectors * shuffled).sum(1).mean()),
        "fd_fp32": frechet_distance(target=windows["reference"], generated=windows["fp32"]),
        "fd_noise": frechet_distance(target=windows["reference"], generated=windows["noise"]),
        "fd_other": frechet_distance(
            target=windows["reference"][first_half], generated=windows["reference"][~first_half]
        ),
        "parameters_denoiser": sum(parameter.numel() for parameter in trained.model.network.model.parameters()),
        "sampler": f"{settings.name}, {settings.steps} steps, sigma {settings.sigma_min}-{settings.sigma_max}",
        "cfg_scale": settings.cfg_scale,
        "command": COMMAND,
    }


def _generate(trained: Trained, captions: list[str], settings: SamplerSettings, seed: int) -> Tensor:
    clips = []
    for first in range(0, len(captions), BATCH_SIZE):
        batch = captions[first : first + BATCH_SIZE]
        clip_ids = [f"card-{first + index}" for index in range(len(batch))]
        latents = sample(
            trained.model, batch, [CLIP_SECONDS] * len(batch), clip_ids=clip_ids, seed=seed, settings=settings
        )  # fmt: skip
        with torch.inference_mode():
            clips.append(trained.model.decode(latents)[:, 0])
    return torch.cat(clips)


def card_page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    rows = "\n".join(
        f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |"
        for key, value in card.items()
    )
    return f"""# mini

A small text-to-audio latent diffusion model that this project trains itself, in stable-audio-tools' classes and
configuration schema: text and timing conditioning, continuous-transformer DiT, v objective, classifier-free guidance. It
makes 4.1 s of 16 kHz mono sound of {card["n_classes"]} synthesised everyday classes. Its evaluators heard the same
synthesised sounds: their scores compare recipes of this model, and are not comparable with published ones.

Measured by `{card["command"]}` on {card["n_clips"]} single-event captions that training never saw.

| what | value |
|---|---|
{rows}

- `tagger_accuracy_*`: share of clips tagged as the captioned class; `reference` is synthesised, `fp32` generated.
- `clap_matched`, `clap_shuffled`: mean cosine of generated clips with their own and with other clips' captions.
- `fd_*`: Fréchet distance to the references of generated clips, of white noise at the references' levels, and between the
  references of one half of the classes and the other.
"""
