"""Models: what the stages ask of one (`base`), which families there are (`registry`), and a folder per family."""
