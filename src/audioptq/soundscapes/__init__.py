"""A synthesiser of everyday sounds with captions: deterministic, without any recording."""

from audioptq.soundscapes.captions import SPLITS, VOCABULARY, split_of
from audioptq.soundscapes.classes import CLASSES
from audioptq.soundscapes.events import SAMPLE_RATE_HZ, Event
from audioptq.soundscapes.render import render
from audioptq.soundscapes.scenes import KINDS, Scene, draw_scene

__all__ = [
    "CLASSES",
    "KINDS",
    "SAMPLE_RATE_HZ",
    "SPLITS",
    "VOCABULARY",
    "Event",
    "Scene",
    "draw_scene",
    "render",
    "split_of",
]
