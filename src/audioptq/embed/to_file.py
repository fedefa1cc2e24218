"""Embeds clips to a file, an evaluator at a time; what an earlier file of the same evaluator holds is taken from there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.embed.cache import cached_rows, evaluator_digest, keep, restore
from audioptq.embed.run import clip_record, embed_captions, embed_clips, load_evaluator
from audioptq.files.artifacts import write_tensors
from audioptq.machine.device import best_device


@dataclass(frozen=True)
class EvaluatorFiles:
    """An evaluator that is yet to be loaded.

    Attributes:
        name: Its id.
        variant: Which of its networks.
        weights: Its files by their names in workflow/weights.tsv.
        code: The library files behind it.
    """

    name: str
    variant: str
    weights: Mapping[str, str]
    code: Sequence[str]

    def load(self) -> Any:
        """Reads the weights onto the best device and lets the evaluator prove itself."""
        return load_evaluator(self.name, self.weights, self.variant, best_device())

    @property
    def digest(self) -> str:
        """What its embeddings depend on beside the audio."""
        return evaluator_digest(self.name, self.variant, list(self.weights.values()), self.code)


def write_clip_embeddings(
    path: str | Path, evaluator: EvaluatorFiles, clips: Sequence[Mapping[str, Any]], description: str
) -> bool:
    """Writes the embeddings of clips.

    Args:
        path: Of the file.
        evaluator: Loaded only if something is to be embedded.
        clips: As `run.embed_clips` takes them.
        description: For the progress bar.

    Returns:
        Whether the evaluator was asked; false if an earlier file held the same.
    """
    made_by = evaluator.digest
    if restore(path, made_by, lambda: clip_record(clips)):
        return False
    rows = cached_rows(path, made_by)
    tensors, metadata = embed_clips(evaluator.name, evaluator.load(), clips, description, rows)
    write_tensors(path, tensors, {**metadata, "made_by": made_by})
    keep(path)
    return True


def write_caption_embeddings(
    path: str | Path, evaluator: EvaluatorFiles, clip_ids: Sequence[str], captions: Sequence[str]
) -> None:
    """Writes the text embeddings of captions: texts are few and short, and none are kept."""
    write_tensors(path, *embed_captions(evaluator.name, evaluator.load(), clip_ids, captions))


def evaluators_of(inputs: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]) -> list[EvaluatorFiles]:
    """The evaluators of a job, from its inputs by name (`code_shared`, `code_{name}`, `weights_{name}`) and what it is told of each.

    Args:
        inputs: Files by the name of the input.
        entries: Evaluator -> `variant` and the names of its `weights`, in the order of the files.
    """
    return [
        EvaluatorFiles(
            name,
            entry["variant"],
            dict(zip(entry["weights"], inputs[f"weights_{name}"], strict=True)),
            [*inputs["code_shared"], *inputs[f"code_{name}"]],
        )
        for name, entry in entries.items()
    ]
