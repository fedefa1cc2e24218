"""Calibration: full-precision runs through the real sampler, from which statistics of activations are streamed."""
