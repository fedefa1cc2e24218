# The models of the bench and their files; no rules.
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


def bench_files(files_of):
    """Files of the bench's models: `model_files` or `text_encoder_files`."""
    return [
        file
        for name in BENCH["models"]
        for file in files_of(SimpleNamespace(model=name))
    ]
