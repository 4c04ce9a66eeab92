import numpy as np
import pytest

from k3m import rng


def test_draws_depend_on_every_part_of_the_purpose_and_on_nothing_else() -> None:
    keys = rng.item_keys(["a", "b"], 0, 1, "mlm")
    assert np.array_equal(rng.item_keys(["b", "a"], 0, 1, "mlm")[::-1], keys)
    for other in ((1, 1, "mlm"), (0, 2, "mlm"), (0, 1, "mom")):
        assert not np.any(rng.item_keys(["a", "b"], *other) == keys)


def test_known_draws() -> None:
    # Golden: a change of the generator would change every published run.
    draws = rng.uniform(rng.item_keys(["a"], 0, 0, "mlm"), np.arange(3))
    assert np.allclose(draws, [0.5774572639187753, 0.1319658101958907, 0.13921576136508196], atol=1e-12)


def test_uniform_fills_the_unit_interval() -> None:
    draws = rng.uniform(rng.item_keys([str(i) for i in range(200)], "x")[:, None], np.arange(500)[None])
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    assert np.all(np.abs(counts - 10_000) < 5 * np.sqrt(10_000))  # five standard deviations
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.3


def test_order_is_a_permutation_that_the_epoch_changes() -> None:
    first, second = rng.order(100, 0, 0, "order"), rng.order(100, 0, 1, "order")
    assert sorted(first) == list(range(100))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, rng.order(100, 0, 0, "order"))


def test_the_first_of_an_order_are_found_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng, "BLOCK", 7)
    for n in (0, 1, 7, 100):
        for most in (0, 1, 5, 7, 200):
            assert rng.first(most, n, 3, "valid").tolist() == rng.order(n, 3, "valid")[:most].tolist()


def test_the_first_of_equal_draws_is_the_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng, "BLOCK", 4)
    monkeypatch.setattr(rng, "uniform", lambda keys, positions: (positions % 3).astype(np.float64))
    assert rng.first(5, 10, "x").tolist() == rng.order(10, "x")[:5].tolist() == [0, 3, 6, 9, 1]


def test_distinct_numbers_are_below_the_size_and_every_subset_is_as_likely() -> None:
    draws = rng.uniform(rng.item_keys([str(i) for i in range(20_000)], "x")[:, None], np.arange(2)[None])
    pairs = np.sort(rng.distinct(draws, np.full(20_000, 5)), axis=1)
    assert pairs.min() == 0
    assert pairs.max() == 4
    assert (pairs[:, 0] < pairs[:, 1]).all()
    counts = np.bincount(pairs[:, 0] * 5 + pairs[:, 1], minlength=25)
    counts = counts[counts > 0]
    assert len(counts) == 10
    assert np.all(np.abs(counts - 2000) < 5 * np.sqrt(2000))  # five standard deviations


def test_distinct_numbers_are_all_where_there_are_few() -> None:
    draws = np.full((4, 3), 1 - 2.0**-53)
    assert rng.distinct(draws, np.array([0, 2, 3, 5])).tolist() == [[-1, -1, -1], [0, 1, -1], [0, 1, 2], [2, 3, 4]]
