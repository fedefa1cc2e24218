"""Calibration: full-precision runs through the real sampler, from which activation ranges are streamed."""
