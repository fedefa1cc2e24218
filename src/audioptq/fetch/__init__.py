"""Weights from the network: which files, where from, and how each is known to be whole."""
