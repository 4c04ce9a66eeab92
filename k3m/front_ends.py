"""The image front end that a config names: what reads its photographs, and what makes objects of them."""

from k3m.config import ImageConfig
from k3m.image_encoders import ImageFront, PixelFront, ReadyFront, TowerFront
from k3m.photographs import PhotographReader, PixelReader

# Pretrained models are imported where they are used: their libraries take seconds.


def reader_of(config: ImageConfig) -> PhotographReader:
    if config.front == "pixels":
        return PixelReader(config.height, config.width)
    from k3m.towers import tower_reader

    return tower_reader(config)


def image_front(config: ImageConfig) -> ImageFront:
    """A tower to be tuned has fresh weights."""
    if config.front == "pixels":
        return PixelFront(config.channels)
    from k3m.towers import Tower, ready_sizes

    return ReadyFront(*ready_sizes(config)) if config.ready else TowerFront(Tower.fresh(config.tower))
