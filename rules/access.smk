# What the run has to download, and whether it will be let in; asked before any job. No rules.


def absent_downloads():
    """What the run will download: rows of workflow/weights.tsv whose files are absent."""
    wildcards = SimpleNamespace(model=MODEL, dataset=DATASET)
    files = set(text_encoder_files(wildcards))
    for metric in scored_metrics():
        embedder = metric_info(metric).embedder
        if embedder is not None:
            files |= set(evaluator_files(SimpleNamespace(embedder=embedder)))
            if (
                metric_info(metric).target == "reference"
                and references_of(embedder) == "published"
            ):
                files.add(
                    published_file(SimpleNamespace(dataset=DATASET, embedder=embedder))
                )
    return [
        entry
        for entry in WEIGHTS.values()
        if f"{DOWNLOADS}/{entry.file}" in files
        and not os.path.exists(f"{DOWNLOADS}/{entry.file}")
    ]


def check_downloads():
    """Finds a closed gate, an unreachable host or a full disk before any job starts."""
    entry = config["models"][MODEL]
    if "hub" in entry:
        from audioptq.fetch.hub import check_access

        check_access(
            entry["hub"], entry["revision"], model_folder(MODEL), "model.safetensors"
        )
    absent = absent_downloads()
    if absent:
        from audioptq.fetch.check import check_files

        check_files(absent, DOWNLOADS)
