"""What a run makes, from its checked config: sets of clips, metrics, shards, and the files that one stage takes from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioptq.errors import UserError
from audioptq.runs.sources import Sources
from audioptq.score.table import MetricInfo, metric_info

BASELINE = "fp32"
# Folder under `embed` of what a metric with an embedder compares with, by its target; references may be published ones.
TARGET_FOLDERS = {"prompt": "captions", "reference": "references"}


@dataclass(frozen=True)
class Plan:
    """Answers the rules' questions; shards have sizes from the config, never from the machine.

    Attributes:
        config: As `config_check.check_config` passed it.
        n_clips: Clips of each recipe and seed.
        sources: The files that the run starts from.
    """

    config: Mapping[str, Any]
    n_clips: int
    sources: Sources

    @property
    def results(self) -> str:
        """Folder of all that is made."""
        return str(self.config["results"])

    @property
    def dataset(self) -> str:
        """The data set that is run."""
        return str(self.config["dataset"])

    def runs(self) -> list[tuple[str, int]]:
        """Every (recipe, seed) that is generated: all recipes with all seeds, and full precision with one seed more."""
        generation = self.config["generation"]
        sets = [(recipe, seed) for recipe in self.config["run"] for seed in generation["seeds"]]
        return [*sets, (BASELINE, generation["noise_floor_seed"])]

    def metrics(self) -> dict[str, MetricInfo]:
        """Selected metrics, without those that need references if the data set has none for their evaluator.

        Raises:
            UserError: If none is left: the report, at the end of the run, would have nothing to say.
        """
        infos = {metric: metric_info(metric) for metric in self.config["metrics"]}
        possible = {
            metric: info
            for metric, info in infos.items()
            if info.embedder is None
            or info.target != "reference"
            or self.sources.references_kind(self.dataset, info.embedder)
        }
        if not possible:
            raise UserError(
                f"All of `metrics` ({', '.join(infos)}) compare with references, and the data set {self.dataset} has none: add a "
                "metric that needs none, such as mcd_db, or give the data set `reference_dir`, `audio` or `published_references`."
            )
        return possible

    def embedders(self, folder: str | None = None) -> list[str]:
        """Evaluators of the metrics, sorted, so that another order of the metrics embeds nothing.

        Args:
            folder: Only those whose metrics compare with what lies in this folder under `embed`: captions, references,
                published.
        """
        infos = [info for info in self.metrics().values() if folder in (None, self._target_folder(info))]
        return sorted({info.embedder for info in infos if info.embedder is not None})

    def calibration_shards(self, model: str) -> list[str]:
        """Statistics of each shard of the calibration prompts."""
        calibration = self.config["calibration"]
        template = f"{self.results}/calibrate/{model}/shard-{{:04d}}.safetensors"
        return shards(calibration["n_prompts"], calibration["prompts_per_shard"], template)

    def manifests(self, model: str, recipe: str, seed: str | int) -> list[str]:
        """Shard manifests of a recipe and seed."""
        template = f"{self.results}/generate/{model}/{recipe}/seed{seed}/shard-{{:04d}}.parquet"
        return shards(self.n_clips, self.config["generation"]["clips_per_shard"], template)

    def manifests_to_embed(self, model: str, recipe: str, seed: str | int, shard: str | int) -> list[str]:
        """Manifests of one shard of embedding."""
        first = int(shard) * self.manifests_per_embedding
        return self.manifests(model, recipe, seed)[first : first + self.manifests_per_embedding]

    @property
    def manifests_per_embedding(self) -> int:
        """How many shards of generation one job embeds: whole ones, and at least one."""
        wanted: int = self.config["embedding"]["clips_per_shard"]
        return max(wanted // self.config["generation"]["clips_per_shard"], 1)

    def embeddings(self, model: str, recipe: str, seed: str | int, embedder: str) -> list[str]:
        """Embeddings of the clips of a recipe and seed, a file for each shard of embedding."""
        template = f"{self.results}/embed/{model}/{recipe}/seed{seed}/{embedder}/shard-{{:04d}}.safetensors"
        return shards(len(self.manifests(model, recipe, seed)), self.manifests_per_embedding, template)

    def score_inputs(self, model: str, recipe: str, seed: str | int) -> dict[str, str | list[str]]:
        """What the metrics compare, by names of inputs.

        Returns:
            `manifests` of the clips; `baseline`, those of full precision, if a metric compares audio with audio; and for each
            evaluator `{kind}_{evaluator}`, where `kind` is generated (always), references, captions or fp32 (if a metric
            compares with them). `embeddings_by_evaluator` takes the latter apart. Full precision has the same seed; for the
            seed of the noise floor, the first of the others.
        """
        generation = self.config["generation"]
        of_baseline = generation["seeds"][0] if int(seed) == generation["noise_floor_seed"] else seed
        inputs: dict[str, str | list[str]] = {"manifests": self.manifests(model, recipe, seed)}
        for info in self.metrics().values():
            embedder = info.embedder
            if embedder is None:
                inputs["baseline"] = self.manifests(model, BASELINE, of_baseline)
                continue
            inputs[f"generated_{embedder}"] = self.embeddings(model, recipe, seed, embedder)
            if info.target == BASELINE:
                inputs[f"fp32_{embedder}"] = self.embeddings(model, BASELINE, of_baseline, embedder)
            elif info.target in TARGET_FOLDERS:  # a metric may have no target
                kind, folder = TARGET_FOLDERS[info.target], self._target_folder(info)
                inputs[f"{kind}_{embedder}"] = f"{self.results}/embed/{folder}/{self.dataset}/{embedder}.safetensors"
        return inputs

    def _target_folder(self, info: MetricInfo) -> str | None:
        if info.embedder is not None and info.target == "reference":
            return self.sources.references_kind(self.dataset, info.embedder)
        return TARGET_FOLDERS.get(info.target)

    def listening_answers(self) -> list[str]:
        """Answers to the listening test that have come in: what `audioptq listen serve` collected, and files that were sent."""
        places = (f"{self.results}/listening/test.answers.jsonl", f"{self.results}/listening/answers")
        return [place for place in places if Path(place).exists()]

    def downloads(self) -> list[str]:
        """Files from outside that the run reads, beside the model's own."""
        files = self.sources.text_encoder_files(self.config["model"])
        for embedder in self.embedders():
            files += self.sources.evaluator_files(embedder).values()
        return files + [self.sources.published_file(self.dataset, name) for name in self.embedders("published")]

    def sizes(self) -> dict[str, str]:
        """What a profile reckons the time of a job from, as variables of the environment: profiles see no config."""
        clips = self.config["generation"]["clips_per_shard"]
        return {
            "CLIPS_PER_SHARD": str(clips),
            "CLIPS_PER_EMBEDDING": str(clips * self.manifests_per_embedding * max(len(self.embedders()), 1)),
            "SAMPLER_STEPS": str(self.config["sampler"]["steps"]),
            "N_METRICS": str(len(self.metrics())),
        }

    def metric_modules(self, package: Path) -> list[Path]:
        """Files of the metrics, which are imported by name, so that no import statement leads to them."""
        modules = {info.module for info in self.metrics().values()}
        return sorted(package.joinpath("score", *module.split(".")).with_suffix(".py") for module in modules)

    def evaluator_weights(self, embedders: Sequence[str]) -> dict[str, list[str]]:
        """Weights of evaluators, by names of inputs: `weights_{evaluator}`."""
        return {f"weights_{name}": list(self.sources.evaluator_files(name).values()) for name in embedders}

    def evaluator_params(self, embedders: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What a job must know of each evaluator beside its files: the variant, and the names of its weights."""
        return {
            name: {
                "variant": self.sources.evaluator_variant(name),
                "weights": list(self.sources.evaluator_files(name)),
            }
            for name in embedders
        }


def shards(n_items: int, per_shard: int, template: str) -> list[str]:
    """Names of the files of each shard, from a template with the shard's number.

    Example:
        >>> shards(5, 2, "{}.parquet")
        ['0.parquet', '1.parquet', '2.parquet']
    """
    return [template.format(index) for index in range(-(-n_items // per_shard))]


def embeddings_by_evaluator(inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The embeddings among a score job's inputs, as `score_metrics` takes them: evaluator -> kind -> file or files.

    Example:
        >>> embeddings_by_evaluator({"manifests": ["m"], "generated_clap_mini": ["a"], "captions_clap_mini": "b"})
        {'clap_mini': {'generated': ['a'], 'captions': 'b'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, files in inputs.items():
        kind, _, embedder = name.partition("_")
        if kind in ("generated", "references", "captions", "fp32"):
            found.setdefault(embedder, {})[kind] = files
    return found
