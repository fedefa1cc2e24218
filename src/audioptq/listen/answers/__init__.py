"""Answers on their way from a listener to the analysis: their file, its checks, and the server that collects them."""
