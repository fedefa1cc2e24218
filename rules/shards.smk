# The shards that calibration, generation and embedding are cut into: sizes from the config, never from the machine; no rules.
from types import SimpleNamespace


def shards(n_items, per_shard, template):
    """Names of the files of each shard, from a template with the shard's number."""
    return [template.format(index) for index in range(-(-n_items // per_shard))]


def calibration_shards(wildcards):
    """Statistics of each shard of the calibration prompts."""
    calibration = config["calibration"]
    return shards(
        calibration["n_prompts"],
        calibration["prompts_per_shard"],
        f"{RESULTS}/calibrate/{wildcards.model}/shard-{{:04d}}.safetensors",
    )


def manifests(wildcards):
    """Shard manifests of a recipe and seed."""
    return shards(
        N_CLIPS,
        config["generation"]["clips_per_shard"],
        f"{RESULTS}/generate/{wildcards.model}/{wildcards.recipe}/seed{wildcards.seed}/shard-{{:04d}}.parquet",
    )


def manifests_of(recipe, seed):
    """Shard manifests of a recipe and seed of the model that is run."""
    return manifests(SimpleNamespace(model=MODEL, recipe=recipe, seed=seed))


def baseline_of(wildcards):
    """Full precision of the same seed; the noise floor's seed is compared with the first of the others."""
    seed = SEEDS[0] if int(wildcards.seed) == NOISE_FLOOR_SEED else wildcards.seed
    return SimpleNamespace(model=wildcards.model, recipe=BASELINE, seed=seed)


def baseline_manifests(wildcards):
    """Manifests of full precision for the same clips."""
    return manifests(baseline_of(wildcards))


def manifests_embedded_at_once():
    """How many shards of generation one job embeds: whole ones, and at least one."""
    wanted = config["embedding"]["clips_per_shard"]
    return max(wanted // config["generation"]["clips_per_shard"], 1)


def manifests_to_embed(wildcards):
    """Manifests of one shard of embedding."""
    n_manifests = manifests_embedded_at_once()
    first = int(wildcards.shard) * n_manifests
    return manifests(wildcards)[first : first + n_manifests]


def embedded(wildcards, embedder):
    """Embeddings of the clips of a recipe and seed, a file for each shard of embedding."""
    folder = f"{RESULTS}/embed/{wildcards.model}/{wildcards.recipe}/seed{wildcards.seed}/{embedder}"
    return shards(
        len(manifests(wildcards)),
        manifests_embedded_at_once(),
        f"{folder}/shard-{{:04d}}.safetensors",
    )
