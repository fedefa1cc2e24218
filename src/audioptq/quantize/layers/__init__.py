"""Quantized layers: made from float layers and statistics, and put into a model."""
