"""The table, the comparisons, the figures and the page: what quantization cost and bought, with how sure we are."""
