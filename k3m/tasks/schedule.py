"""The learning rate of a training that ends by its steps or by its time, whichever is sooner."""


def rate_at(share: float, step: float, warmup: float) -> float:
    """Of the peak: it rises over the share `warmup` of the training, and falls linearly to 0 at its end.

    Args:
        share: of the training that is over, by steps or minutes, whichever is more.
        step: what one step is of it at least, so that the first one moves.
    """
    rising = (share + step) / warmup if warmup else 1.0
    return max(0.0, min(1.0, rising, (1 - share) / max(1e-9, 1 - warmup)))
