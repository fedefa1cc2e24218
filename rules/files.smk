# Which files stand for what the config names: models, evaluators and references, local or downloaded; no rules.
from pathlib import Path


def local_or_downloaded(name):
    """A file of workflow/weights.tsv, or the local copy that the config names for it."""
    if name in config["weights"]:
        return config["weights"][name]
    return f"{DOWNLOADS}/{WEIGHTS[name].file}"


def model_folder(model):
    """Folder of a model's configuration and weights."""
    return config["models"][model].get("path") or f"{DOWNLOADS}/models/{model}"


def model_files(wildcards):
    """Configuration and weights of a model; a local directory may hold a checkpoint in place of a safetensors file."""
    folder = model_folder(wildcards.model)
    pickled = f"{folder}/model.ckpt"
    is_pickled = os.path.isfile(pickled) and not os.path.isfile(
        f"{folder}/model.safetensors"
    )
    return [
        f"{folder}/model_config.json",
        pickled if is_pickled else f"{folder}/model.safetensors",
    ]


def text_encoder_files(wildcards):
    """Files of the text encoder that a model's configuration names and its weights do not hold."""
    encoder = config["models"][wildcards.model].get("text_encoder")
    if encoder is None:
        return []
    if os.path.isdir(encoder):
        return sorted(str(path) for path in Path(encoder).iterdir() if path.is_file())
    return sorted(
        local_or_downloaded(name)
        for name, entry in WEIGHTS.items()
        if entry.file.startswith(f"{encoder}/")
    )


def embed_code(wildcards):
    """Library files behind one evaluator; its module is imported by name, so no import statement leads to it."""
    return library("embed_clips", evaluator_info(wildcards.embedder).path)


def evaluator_variant(wildcards):
    """Which network of an evaluator is used."""
    entry = config["evaluators"].get(wildcards.embedder, {})
    return evaluator_info(wildcards.embedder).variant(entry.get("variant"))


def evaluator_weights(wildcards):
    """Names of the files that an evaluator reads."""
    return list(
        evaluator_info(wildcards.embedder).weights[evaluator_variant(wildcards)]
    )


def evaluator_files(wildcards):
    """Files that an evaluator reads, in the order of their names."""
    return [local_or_downloaded(name) for name in evaluator_weights(wildcards)]


def references_of(embedder):
    """Folder under `embed` of what an evaluator's metrics compare with; None if the data set has nothing."""
    dataset = config["datasets"][DATASET]
    if embedder in dataset.get("published_references", {}):
        return "published"
    has_audio = (
        dataset["kind"] == "soundscapes"
        or dataset.get("reference_dir")
        or dataset.get("audio")
    )
    return "references" if has_audio else None


def published_file(wildcards):
    """Published statistics of the references: a local file, or one of workflow/weights.tsv."""
    name = config["datasets"][wildcards.dataset]["published_references"][
        wildcards.embedder
    ]
    return local_or_downloaded(name) if name in WEIGHTS else name


def reference_manifest(wildcards):
    """Manifest of the references that are downloaded, for data sets that have some."""
    has_audio = config["datasets"][wildcards.dataset].get("audio")
    return (
        {"references": f"{RESULTS}/references/{wildcards.dataset}/manifest.parquet"}
        if has_audio
        else {}
    )


def report_assets():
    """Template, style and script of the page: library files that no import names."""
    return relative((PACKAGE / "report" / "page").glob("report.*"))
