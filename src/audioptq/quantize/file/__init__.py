"""A quantized model's file: written, read, described, and where its bytes go."""
