from typing import Any

import numpy as np
import pytest
import torch

from k3m import rng
from k3m.config import CorruptConfig
from k3m.corruption import Corruption

N = 4000


def _corruption(**chances: Any) -> Corruption:
    return Corruption(CorruptConfig(**chances), rng.item_keys([str(n) for n in range(N)], "corruption"))


@pytest.mark.parametrize("field", ["title", "image"])
def test_shares_of_dropped_and_swapped(field: str) -> None:
    own = np.array([f"own {n}" for n in range(N)], dtype=object)
    corruption = _corruption(**{f"drop_{field}": 0.3, f"swap_{field}": 0.2})
    change, untouched = (corruption.titles, corruption.images)[:: 1 if field == "title" else -1]
    found = change(own)
    missing = np.array([title is None for title in found])
    assert abs(missing.mean() - 0.3) < 0.03
    other = ~missing & (found != own)
    assert abs(other.sum() / (~missing).sum() - 0.2) < 0.03
    assert set(found[other]) <= set(own)
    assert np.array_equal(untouched(own), own)


def test_nothing_asked_for_changes_nothing() -> None:
    own = np.array([None, *["a"] * (N - 1)], dtype=object)
    item = np.repeat(np.arange(N), 3)
    assert np.array_equal(_corruption().titles(own), own)
    assert _corruption().shown(item).all()


def test_a_share_of_the_triples_itself_drawn_evenly_is_not_shown() -> None:
    """Of half of the items: the share not shown is even on 0..1, so that a tenth of those lose over .9 of theirs."""
    degree = 50
    shown = _corruption(drop_graph=0.5).shown(np.repeat(np.arange(N), degree)).reshape(N, degree)
    lost = 1 - shown.mean(1)
    touched = lost > 0
    assert abs(lost.mean() - 0.25) < 0.02
    assert abs(touched.mean() - 0.49) < 0.03
    assert abs((lost > 0.9).mean() - 0.05) < 0.015


def test_an_item_s_draws_do_not_depend_on_its_batch_mates() -> None:
    whole = _corruption(drop_title=0.5, drop_graph=0.5)
    few = Corruption(whole.config, whole.keys[7:9])
    own = np.array(["title"] * N, dtype=object)
    assert few.titles(own[7:9]).tolist() == whole.titles(own)[7:9].tolist()
    item = np.repeat(np.arange(N), 4)
    assert few.shown(np.array([0, 0, 0, 0, 1, 1, 1, 1])).tolist() == whole.shown(item)[28:36].tolist()


def _numbered(items: int) -> torch.Tensor:
    """Pixels [items, 3, 4, 5], no two of an item alike."""
    return torch.arange(60.0).view(3, 4, 5).repeat(items, 1, 1, 1)


def test_a_mirrored_photograph() -> None:
    own = _numbered(N)
    found = _corruption(flip_image=0.25).pixels(own)
    mirrored = (found == own.flip(3)).flatten(1).all(1)
    same = (found == own).flatten(1).all(1)
    assert abs(mirrored.float().mean().item() - 0.25) < 0.03
    assert bool((mirrored ^ same).all())


def test_a_moved_photograph_repeats_its_edges() -> None:
    own = _numbered(N)
    found = _corruption(shift_image=1).pixels(own)
    padded = torch.nn.functional.pad(own[:1], (1, 1, 1, 1), mode="replicate")
    moved = torch.cat([padded[:, :, y : y + 4, x : x + 5] for y in range(3) for x in range(3)])
    which = (found[:, None] == moved).flatten(2).all(2)
    assert bool((which.sum(1) == 1).all())
    assert which.sum(0).min() > 0


def test_pixels_stay_where_nothing_is_asked_for_and_do_not_depend_on_batch_mates() -> None:
    own, whole = _numbered(N), _corruption(flip_image=0.5, shift_image=2)
    assert _corruption().pixels(own) is own
    few = Corruption(whole.config, whole.keys[7:9])
    assert torch.equal(few.pixels(own[7:9]), whole.pixels(own)[7:9])
