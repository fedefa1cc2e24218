# How fast the forms of a model are on this machine: snakemake bench. Nothing else asks for it.
BENCH = config["bench"]


def bench_models():
    """The models of the bench: their folders, what their weights are, and their text encoders."""
    entries = {}
    for name in BENCH["models"]:
        encoder = text_encoder_files(SimpleNamespace(model=name))
        entries[name] = {
            "folder": model_folder(name),
            "weights": (
                "random" if config["models"][name].get("random_weights") else "trained"
            ),
            "text_encoder": os.path.dirname(encoder[0]) if encoder else None,
        }
    return entries


rule bench:
    input:
        # The worker is started by its name, so no import statement leads to it.
        code=library("bench", PACKAGE / "bench" / "worker.py"),
        models=[
            file
            for name in BENCH["models"]
            for file in model_files(SimpleNamespace(model=name))
        ],
        text_encoders=[
            file
            for name in BENCH["models"]
            for file in text_encoder_files(SimpleNamespace(model=name))
        ],
    output:
        steps=f"{RESULTS}/bench/steps.parquet",
        profile=f"{RESULTS}/bench/profile.parquet",
        page=f"{RESULTS}/bench/bench.md",
        roofline=f"{RESULTS}/bench/roofline.svg",
        ratios=f"{RESULTS}/bench/ratios.svg",
    log:
        f"{LOGS}/bench.log",
    # All of the machine: what else ran would be measured too.
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        models=bench_models(),
        bench=BENCH,
        recipes=config["recipes"],
        sampler=config["sampler"],
    message:
        "bench: a denoising step in every form, side by side"
    script:
        "../scripts/bench.py"
