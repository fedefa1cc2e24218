"""Which files stand for what the config names: models, evaluators and references, local or downloaded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.evaluators import evaluator_info
from audioptq.fetch.weights import WeightsEntry
from audioptq.models import registry


@dataclass(frozen=True)
class Sources:
    """The files that a run starts from.

    Attributes:
        config: As `config_check.check_config` passed it.
        weights: Rows of workflow/weights.tsv by name.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, WeightsEntry]

    def file(self, name: str) -> str:
        """A file of workflow/weights.tsv, or the local copy that the config names for it."""
        local: str | None = self.config["weights"].get(name)
        return f"{self.config['downloads']}/{self.weights[name].file}" if local is None else local

    def model_folder(self, model: str) -> str:
        """Folder of a model's configuration and weights."""
        return self.config["models"][model].get("path") or f"{self.config['downloads']}/models/{model}"

    def model_files(self, model: str) -> list[str]:
        """Files that loading a model reads, configuration first: as its family says, or as the hub has them.

        Raises:
            UserError: If a local folder is of no family.
        """
        folder = self.model_folder(model)
        if "path" in self.config["models"][model]:
            return registry.model_files(folder)
        return [f"{folder}/model_config.json", f"{folder}/model.safetensors"]

    def family_modules(self, model: str) -> list[Path]:
        """Library files of a model's family, which is picked by the model's files; of every family for a model of the hub."""
        families = registry.families()
        path = self.config["models"][model].get("path")
        chosen = families.values() if path is None else [families[registry.family_of(path)]]
        return sorted(file for folder in chosen for file in folder.rglob("*.py"))

    def text_encoder_files(self, model: str) -> list[str]:
        """Files of the text encoder that a model's configuration names and its weights do not hold."""
        encoder = self.config["models"][model].get("text_encoder")
        if encoder is None:
            return []
        if Path(encoder).is_dir():
            return sorted(str(path) for path in Path(encoder).iterdir() if path.is_file())
        return sorted(self.file(name) for name, entry in self.weights.items() if entry.file.startswith(f"{encoder}/"))

    def evaluator_variant(self, embedder: str) -> str:
        """Which network of an evaluator is used."""
        return evaluator_info(embedder).variant(self.config["evaluators"].get(embedder, {}).get("variant"))

    def evaluator_files(self, embedder: str) -> dict[str, str]:
        """Files that an evaluator reads, by their names in workflow/weights.tsv."""
        names = evaluator_info(embedder).weights[self.evaluator_variant(embedder)]
        return {name: self.file(name) for name in names}

    def references_kind(self, dataset: str, embedder: str) -> str | None:
        """Folder under `embed` of what an evaluator's metrics compare with; None if the data set has nothing."""
        entry = self.config["datasets"][dataset]
        if embedder in entry.get("published_references", {}):
            return "published"
        has_audio = entry["kind"] == "soundscapes" or entry.get("reference_dir") or entry.get("audio")
        return "references" if has_audio else None

    def published_file(self, dataset: str, embedder: str) -> str:
        """Published statistics of the references: a local file, or one of workflow/weights.tsv."""
        name: str = self.config["datasets"][dataset]["published_references"][embedder]
        return self.file(name) if name in self.weights else name

    def bench_models(self) -> dict[str, dict[str, str | None]]:
        """The models of the bench: their folders, what their weights are, and their text encoders."""
        entries: dict[str, dict[str, str | None]] = {}
        for name in self.config["bench"]["models"]:
            encoder = self.text_encoder_files(name)
            is_random = self.config["models"][name].get("random_weights")
            entries[name] = {
                "folder": self.model_folder(name),
                "weights": "random" if is_random else "trained",
                "text_encoder": str(Path(encoder[0]).parent) if encoder else None,
            }
        return entries

    def check_downloads(self, model: str, files: Iterable[str]) -> None:
        """Finds a closed gate, an unreachable host or a full disk before any job starts.

        Args:
            model: The model that is run.
            files: The other files that the run reads; those that are neither there nor in the table are left to Snakemake.

        Raises:
            UserError: As `audioptq.fetch.check` says.
        """
        entry = self.config["models"][model]
        if "hub" in entry:
            from audioptq.fetch.hub import check_access  # here, since most runs download nothing

            check_access(entry["hub"], entry["revision"], self.model_folder(model), "model.safetensors")
        absent = self.absent(files)
        if absent:
            from audioptq.fetch.check import check_files

            check_files(absent, self.config["downloads"])

    def absent(self, files: Iterable[str]) -> list[WeightsEntry]:
        """Rows of the table whose files are among these and have not been downloaded."""
        wanted = {file for file in files if not Path(file).exists()}
        folder = self.config["downloads"]
        return [entry for entry in self.weights.values() if f"{folder}/{entry.file}" in wanted]
