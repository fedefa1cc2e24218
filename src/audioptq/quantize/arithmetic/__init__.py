"""The arithmetic of quantization, on tensors alone: scales, integers, packing, smoothing, branches of low rank."""
