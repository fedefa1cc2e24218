rule report:
    input:
        code=library("report"),
        # Template, style and script of the page, which no import names.
        assets=sorted(
            os.path.relpath(path)
            for path in (library_files.PACKAGE / "report" / "page").glob("report.*")
        ),
        prompts=f"{RESULTS}/prompts/{DATASET}.parquet",
        stats=f"{RESULTS}/calibrate/{MODEL}/act_stats.safetensors",
        map=f"{RESULTS}/calibrate/{MODEL}/activation_map-0000.safetensors",
        sizes=expand(
            f"{RESULTS}/quantize/{MODEL}/{{recipe}}/size.json", recipe=config["run"]
        ),
        layers=expand(
            f"{RESULTS}/quantize/{MODEL}/{{recipe}}/layers.parquet",
            recipe=config["run"],
        ),
        manifests=[
            path
            for recipe, seed in PLAN.runs()
            for path in PLAN.manifests(MODEL, recipe, seed)
        ],
        scores=[
            f"{RESULTS}/score/{MODEL}/{recipe}/seed{seed}/{metric}.parquet"
            for recipe, seed in PLAN.runs()
            for metric in METRICS
        ],
    output:
        table=report(
            f"{RESULTS}/report/table.csv",
            caption="../workflow/report/table.rst",
            category="Results",
        ),
        html=report(
            f"{RESULTS}/report/report.html",
            caption="../workflow/report/page.rst",
            category="Results",
        ),
        markdown=f"{RESULTS}/report/table.md",
        latex=f"{RESULTS}/report/table.tex",
        comparisons=f"{RESULTS}/report/comparisons.csv",
        metrics=f"{RESULTS}/report/metrics.json",
        scores=f"{RESULTS}/report/scores.parquet",
    log:
        f"{LOGS}/report.log",
    params:
        model=MODEL,
        model_folder=SOURCES.model_folder(MODEL),
        recipes={name: config["recipes"][name] for name in config["run"]},
        report=config["report"],
        sampler=config["sampler"],
        bootstrap=config["bootstrap"],
        margins=config["verdicts"]["margins"],
        dataset=DATASET,
        fact_manifests=PLAN.manifests(MODEL, BASELINE, config["generation"]["seeds"][0]),
        noise_floor_seed=config["generation"]["noise_floor_seed"],
    message:
        "report: table, figures and page"
    script:
        "../scripts/report.py"
