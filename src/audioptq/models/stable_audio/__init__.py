"""Models in stable-audio-tools' layout: mini and Stable Audio Open, by one path."""
