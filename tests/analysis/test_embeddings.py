"""PyKEEN's models by index: scores and losses by hand, a training that was stopped goes on as if it had not been."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from analysis.embeddings import (
    MODELS,
    CannotScore,
    CatalogueGraph,
    Embedding,
    EmbeddingPredictor,
    Name,
    Settings,
    Training,
)
from k3m.candidates import Candidates

TRIPLES = torch.tensor([[0, 0, 1], [1, 1, 2], [2, 0, 3], [3, 1, 0], [0, 0, 4]])
PAIRS = torch.tensor([[0, 1], [4, 0], [2, 1]])


def _embedding(model: Name, training: Training = "all", **options: object) -> Embedding:
    settings = Settings(model=model, training=training, dimension=8, batch_size=4, **options)  # type: ignore[arg-type]
    return Embedding(settings, TRIPLES, num_entities=5, num_relations=2)


def _vectors(embedding: Embedding) -> tuple[Tensor, Tensor]:
    model = embedding.model
    return model.entity_representations[0]().detach(), model.relation_representations[0]().detach()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("inverse", [False, True])
def test_scores_by_a_product_of_matrices_are_pykeen_s(model: Name, inverse: bool) -> None:
    embedding = _embedding(model, inverse=inverse)
    embedding.model.eval()
    with torch.inference_mode():
        expected = embedding.model.score_t(PAIRS)
        torch.testing.assert_close(embedding.score_tails(PAIRS), expected, atol=1e-5, rtol=1e-4)
        among = embedding.score_tails(PAIRS, torch.tensor([3, 1]))
        torch.testing.assert_close(among, expected[:, [3, 1]], atol=1e-5, rtol=1e-4)


def test_heads_are_asked_for_as_tails_of_the_inverse_relation_or_else_as_heads() -> None:
    asked = torch.tensor([[4, 1]])  # (tail, relation)
    with torch.inference_mode():
        turned = _embedding("TransE", inverse=True)
        entity, relation = _vectors(turned)
        expected = -(entity[4] + relation[3] - entity).norm(dim=1)
        torch.testing.assert_close(turned.score_heads(asked)[0], expected, atol=1e-5, rtol=1e-4)
        plain = _embedding("TransE")
        entity, relation = _vectors(plain)
        expected = -(entity + relation[1] - entity[4]).norm(dim=1)
        torch.testing.assert_close(plain.score_heads(asked)[0], expected, atol=1e-5, rtol=1e-4)


def test_one_against_all_is_the_mean_surprise_of_the_triples_and_n3() -> None:
    embedding = _embedding("DistMult", penalty=0.1)
    entity, relation = _vectors(embedding)
    surprise, cubes = [], []
    for head, link, tail in TRIPLES.tolist():
        scores = (entity[head] * relation[link]) @ entity.T
        surprise.append(-scores.log_softmax(dim=0)[tail])
        cubes.append(sum((each.abs() ** 3).sum() for each in (entity[head], relation[link], entity[tail])))
    pairs = torch.tensor([[0, 0], [1, 1], [2, 0], [3, 1]])
    found = embedding._against_all(pairs, [torch.tensor(tails) for tails in ([1, 4], [2], [3], [0])])
    expected = torch.stack(surprise).mean() + 0.1 * torch.tensor(cubes).mean()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_seen_targets_leave_out_what_is_no_tail_in_that_direction() -> None:
    triples = torch.tensor([[0, 0, 3], [1, 0, 3], [2, 0, 4]])
    embedding = Embedding(
        Settings(model="DistMult", training="all", dimension=8, inverse=True, targets="seen"), triples, 5, 1
    )
    entity, relation = _vectors(embedding)
    forwards = ((entity[0] * relation[0]) @ entity[3:].T).log_softmax(dim=0)
    backwards = ((entity[4] * relation[1]) @ entity[:3].T).log_softmax(dim=0)
    found = embedding._against_all(torch.tensor([[0, 0], [4, 1]]), [torch.tensor([3]), torch.tensor([2])])
    torch.testing.assert_close(found, -(forwards[0] + backwards[2]) / 2, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", ["margin", "nssa", "all"])
@pytest.mark.parametrize("model", ["TransE", "TuckER"])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(
    model: Name, training: Training, tmp_path: Path
) -> None:
    whole = _embedding(model, training, inverse=True)
    for _ in range(3):
        whole.train_epoch()
    first = _embedding(model, training, inverse=True)
    first.train_epoch()
    first.save(tmp_path / "state.safetensors")
    rest = _embedding(model, training, inverse=True)
    rest.load(tmp_path / "state.safetensors")
    torch.rand(3)  # draws elsewhere change nothing
    rest.train_epoch()
    rest.train_epoch()
    assert rest.epoch == 3
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(rest.model.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("training", ["margin", "nssa", "all"])
def test_every_model_learns_its_triples_by_every_training(model: Name, training: Training) -> None:
    settings = Settings(model=model, training=training, dimension=16, inverse=training == "all", lr=0.05, negatives=8)
    embedding = Embedding(settings, TRIPLES, 5, 2)
    losses = [embedding.train_epoch() for _ in range(12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="dimension must be even for ComplEx"):
        Settings(model="ComplEx", dimension=7)
    with pytest.raises(ValueError, match="norm must be 1 or 2"):
        Settings(norm=3)


TRAINING = pd.DataFrame(
    [("a", "colour", "a"), ("b", "colour", "red"), ("b", "size", "M")], columns=["item", "property", "value"]
)


def test_candidates_are_scored_in_their_order_and_an_item_is_not_the_value_of_its_name() -> None:
    graph = CatalogueGraph(TRAINING)
    embedding = graph.embedding(Settings(model="TransE", dimension=8))
    found = EmbeddingPredictor(embedding, graph, Candidates.from_triples(TRAINING)).score("colour", ["b", "a"])
    entity, relation = _vectors(embedding)
    items, values = {"a": 0, "b": 1}, [2, 3]  # values: a, red
    for row, item in enumerate(("b", "a")):
        expected = -(entity[items[item]] + relation[0] - entity[values]).norm(dim=1)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4)


def test_an_item_without_a_training_triple_cannot_be_scored() -> None:
    graph = CatalogueGraph(TRAINING)
    predictor = EmbeddingPredictor(graph.embedding(Settings(dimension=8)), graph, Candidates.from_triples(TRAINING))
    with pytest.raises(CannotScore, match="item 'cold' has no training triple"):
        predictor.score("colour", ["a", "cold"])
