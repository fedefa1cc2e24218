# How fast the forms of a model are on this machine: snakemake bench. Nothing else asks for it.
rule bench:
    input:
        # The worker is started by its name, so no import statement leads to it.
        code=lambda wildcards: library(
            "bench",
            library_files.PACKAGE / "bench" / "worker.py",
            *(
                file
                for name in config["bench"]["models"]
                for file in SOURCES.family_modules(name)
            ),
            *library_files.recipe_modules(RECIPES.values()),
        ),
        models=lambda wildcards: [
            file
            for name in config["bench"]["models"]
            for file in SOURCES.model_files(name)
        ],
        text_encoders=lambda wildcards: [
            file
            for name in config["bench"]["models"]
            for file in SOURCES.text_encoder_files(name)
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
        models=SOURCES.bench_models(),
        bench=config["bench"],
        recipes=config["recipes"],
        sampler=config["sampler"],
    message:
        "bench: a denoising step in every form, side by side"
    script:
        "../scripts/bench.py"
