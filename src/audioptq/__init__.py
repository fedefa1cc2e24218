"""Measures what post-training quantization costs and buys a text-to-audio diffusion model."""

__version__ = "0.1.0"
