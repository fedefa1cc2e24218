"""Prompts: what is to be generated, what it is compared with, and the calibration subset."""
