# Asked for by embed_references alone, and only if the data set has `audio`: generation never waits for a download. The clips
# and a record of each lie in `clips` beside the manifest; no rule declares them, so a rerun takes them back. On a cluster the
# driver downloads: compute nodes often have no way out.
rule references:
    input:
        code=library("references"),
        file=lambda wildcards: config["datasets"][wildcards.dataset]["path"],
        subset=lambda wildcards: config["datasets"][wildcards.dataset].get("subset")
        or [],
    output:
        manifest=f"{RESULTS}/references/{{dataset}}/manifest.parquet",
        missing=f"{RESULTS}/references/{{dataset}}/missing.tsv",
    log:
        f"{LOGS}/references/{{dataset}}.log",
    localrule: True
    params:
        dataset=lambda wildcards: config["datasets"][wildcards.dataset],
    message:
        "references: download the reference audio of {wildcards.dataset}"
    script:
        "../scripts/references.py"
