import numpy as np

from k3m import masking, rng
from k3m.text import CLS, MASK, PAD, Vocabulary


def _titles(rows: int = 2000, length: int = 12) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.full((rows, length), 7, dtype=np.int64)
    tokens[:, 0], tokens[:, -2:] = CLS, PAD
    return tokens, rng.item_keys([str(row) for row in range(rows)], "mlm")


def test_shares_of_masked_random_and_kept_tokens() -> None:
    tokens, keys = _titles()
    masked, labels = masking.mask_titles(tokens, keys, share=0.15, vocabulary=Vocabulary(1000))
    asked = labels != masking.IGNORED
    eligible = tokens == 7
    assert not asked[~eligible].any()
    assert abs(asked[eligible].mean() - 0.15) < 0.01  # 18,000 draws: 3.7 deviations
    assert np.array_equal(labels[asked], tokens[asked])
    assert np.array_equal(masked[~asked], tokens[~asked])
    assert abs((masked[asked] == MASK).mean() - 0.8) < 0.03
    assert abs((masked[asked] == 7).mean() - 0.1) < 0.03
    assert masked.min() >= 0
    assert masked.max() < 1000


def test_a_title_is_masked_alike_in_any_batch() -> None:
    tokens, keys = _titles(20)
    whole = masking.mask_titles(tokens, keys, 0.15, Vocabulary(1000))
    wider = masking.mask_titles(np.pad(tokens[3:5], ((0, 0), (0, 4))), keys[3:5], 0.15, Vocabulary(1000))
    assert np.array_equal(whole[0][3:5], wider[0][:, :12])
    assert np.array_equal(whole[1][3:5], wider[1][:, :12])


def test_objects_are_asked_in_exact_number_and_only_where_there_is_a_photograph() -> None:
    number = np.where(np.arange(1000) % 2 == 0, 20, 0)
    number[::4] = 9
    there = np.arange(20) < number[:, None]
    asked, zeroed = masking.mask_objects(there, rng.item_keys([str(i) for i in range(1000)], "mom"), 0.15)
    assert np.array_equal(asked.sum(1), np.select([number == 20, number == 9], [3, 1]))
    assert not (asked & ~there).any()
    assert not (zeroed & ~asked).any()
    assert abs(zeroed.sum() / asked.sum() - 0.9) < 0.03


def test_a_random_token_is_no_special_one() -> None:
    """[PAD] 0, [UNK] 100, [CLS] 3, [SEP] 4, [MASK] 9: what is left are 0..199 less those."""
    tokens, keys = np.full((4000, 20), 7), rng.item_keys([str(row) for row in range(4000)], "mlm")
    vocabulary = Vocabulary(200, pad=0, unk=100, cls=3, sep=4, mask=9)
    masked, _ = masking.mask_titles(tokens, keys, 0.9, vocabulary)
    assert set(masked.ravel().tolist()) == set(range(200)) - {0, 100, 3, 4}  # the mask itself is there of course
