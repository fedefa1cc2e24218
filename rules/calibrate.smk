rule calibrate:
    input:
        code=library("calibrate"),
        model=model_files,
        text_encoder=text_encoder_files,
        prompts=f"{RESULTS}/prompts/{DATASET}.calibration.parquet",
    output:
        stats=f"{RESULTS}/calibrate/{{model}}/act_stats.safetensors",
        map=f"{RESULTS}/calibrate/{{model}}/activation_map.safetensors",
    log:
        f"{LOGS}/calibrate/{{model}}.log",
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        sampler=config["sampler"],
        seed=config["calibration"]["seed"],
        batch_size=config["calibration"]["batch_size"],
    message:
        "calibrate {wildcards.model}: activation ranges per timestep and input channel"
    script:
        "../scripts/calibrate.py"
