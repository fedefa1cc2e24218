"""The Fréchet distance: its estimate, and its bootstrap."""
