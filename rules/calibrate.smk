# Globs over layers can only be checked against the model; this looks before anything long starts.
rule check_layers:
    input:
        code=library("check_layers"),
        model=model_files,
    output:
        f"{RESULTS}/calibrate/{{model}}/layers.json",
    log:
        f"{LOGS}/calibrate/{{model}}.check_layers.log",
    params:
        recipes={name: config["recipes"][name] for name in config["run"]},
    message:
        "check that the recipes' layer globs fit {wildcards.model}"
    script:
        "../scripts/check_layers.py"


rule calibrate:
    input:
        code=library("calibrate"),
        model=model_files,
        layers=ancient(f"{RESULTS}/calibrate/{{model}}/layers.json"),
        prompts=f"{RESULTS}/prompts/{DATASET}.calibration.parquet",
    output:
        stats=f"{RESULTS}/calibrate/{{model}}/act_stats.safetensors",
        map=f"{RESULTS}/calibrate/{{model}}/activation_map.safetensors",
    log:
        f"{LOGS}/calibrate/{{model}}.log",
    threads: workflow.cores
    params:
        sampler=config["sampler"],
        seed=config["calibration"]["seed"],
        batch_size=config["calibration"]["batch_size"],
    message:
        "calibrate {wildcards.model}: activation ranges per timestep and input channel"
    script:
        "../scripts/calibrate.py"
