rule report:
    input:
        code=library("report"),
        assets=report_assets(),
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
            path for recipe, seed in runs() for path in manifests_of(recipe, seed)
        ],
        scores=[
            f"{RESULTS}/score/{MODEL}/{recipe}/seed{seed}/{metric}.parquet"
            for recipe, seed in runs()
            for metric in scored_metrics()
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
        model_path=model_folder(MODEL),
        recipes={name: config["recipes"][name] for name in config["run"]},
        report=config["report"],
        sampler=config["sampler"],
        bootstrap=config["bootstrap"],
        dataset=DATASET,
        fact_manifests=manifests_of(BASELINE, SEEDS[0]),
        noise_floor_seed=NOISE_FLOOR_SEED,
    message:
        "report: table, figures and page"
    script:
        "../scripts/report.py"
