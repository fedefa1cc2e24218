# Downloads. They go on where they stopped, and what is whole is not asked for again. No code is among the inputs: an edit shall
# not remove gigabytes. On a cluster the driver downloads: compute nodes often have no way out.
import re


rule fetch_weights:
    output:
        f"{DOWNLOADS}/{{file}}",
    log:
        f"{LOGS}/fetch/{{file}}.log",
    wildcard_constraints:
        file="|".join(re.escape(entry.file) for entry in WEIGHTS.values()),
    localrule: True
    params:
        name=lambda wildcards: next(
            name for name, entry in WEIGHTS.items() if entry.file == wildcards.file
        ),
        table=os.path.relpath(WEIGHTS_TABLE),
    message:
        "download {wildcards.file}"
    script:
        "../scripts/fetch_weights.py"


rule fetch_model:
    output:
        config=f"{DOWNLOADS}/models/{{model}}/model_config.json",
        weights=f"{DOWNLOADS}/models/{{model}}/model.safetensors",
    log:
        f"{LOGS}/fetch/{{model}}.log",
    localrule: True
    params:
        repo=lambda wildcards: config["models"][wildcards.model]["hub"],
        revision=lambda wildcards: config["models"][wildcards.model]["revision"],
    message:
        "download {wildcards.model} from {params.repo}"
    script:
        "../scripts/fetch_model.py"
