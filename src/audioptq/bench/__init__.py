"""The bench: seconds of a denoising step in every form, taken in turns on one machine, with what bounds them."""
