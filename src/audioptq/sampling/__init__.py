"""Sampling: per-clip noise and the diffusion samplers, shared by calibration and generation."""
