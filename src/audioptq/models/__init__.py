"""Adapters: one file per family of models, each answering the questions of `base.AudioModel`."""
