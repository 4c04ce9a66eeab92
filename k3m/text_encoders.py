"""Text alone (paper.md 2.2.1): one encoder for titles, properties and values, from scratch or pretrained.

Legend: B items, L tokens, S strings, W tokens a string, R sequences, K vectors, D width.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from k3m.config import Config, LayerSize
from k3m.sequences import LONGEST
from k3m.text import TextTokenizer, Vocabulary
from k3m.transformer import TransformerLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARCHITECTURE = "text_encoder.json"
SHORT = 6
"""Tokens of a short string."""


class TextEncoder(nn.Module):
    """Tokens to states, whatever the encoder: a subclass gives `forward`, `embedding` and `width`.

    Attributes:
        embedding: of tokens; the MLM head shares it.
    """

    embedding: nn.Embedding

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self._known: dict[bytes, Tensor] = {}

    def train(self, mode: bool = True) -> "TextEncoder":
        if mode:
            self._known = {}  # the encoder is about to move
        return super().train(mode)

    def encode_strings(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        """p_x and v_x: the mean over all of a string's own tokens (paper.md 2.2.1). While nothing is trained, each
        distinct string is encoded once.

        A value's own tokens are those behind the [SEP]: it is read in the light of its property, as in the paper's
        figure, where each pair "p v" stands in one sequence. A translation c* + p - v of values that properties share
        could not say "one" of the one and "two" of the other.
        """
        if self.training or torch.is_grad_enabled() or not len(tokens):
            return self._encode(tokens)
        keys = [row.rstrip(b"\0") for row in map(bytes, tokens.cpu().numpy())]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new:
            self._known |= zip([keys[row] for row in new], self._encode(tokens[new]), strict=True)
        return torch.stack([self._known[key] for key in keys])

    def _encode(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        # Most strings are a word or two and a few are sentences: apart, the short ones are not padded to the longest.
        long = (tokens[:, SHORT:] != self.vocabulary.pad).any(1)
        means = torch.cat([self._mean(tokens[~long, :SHORT]), self._mean(tokens[long])])
        return means[torch.argsort(torch.argsort(long, stable=True))]

    def _mean(self, tokens: Int[Tensor, "S W"]) -> Float[Tensor, "S D"]:
        separator = tokens == self.vocabulary.sep
        behind = separator.cumsum(1) == separator.sum(1, keepdim=True)
        own = behind & ~separator & (tokens != self.vocabulary.pad)
        return (self(tokens) * own[..., None]).sum(1) / own.sum(1, keepdim=True)

    def encode_segments(
        self, tokens: Int[Tensor, "R W"], segment: Int[Tensor, "R W"], number: int
    ) -> Float[Tensor, "K D"]:
        """Means over the tokens of each segment of sequences; -1 belongs to none."""
        own = segment >= 0
        states, of = self(tokens)[own], segment[own]
        total = states.new_zeros(number, states.shape[1]).index_add(0, of, states)
        return total / torch.bincount(of, minlength=number).clamp(min=1)[:, None]


class WordPieceEncoder(TextEncoder):
    """A small BERT from scratch."""

    def __init__(self, vocabulary: Vocabulary, longest: int, size: LayerSize, layers: int, dropout: float) -> None:
        super().__init__(vocabulary)
        width = size.width
        self.embedding = nn.Embedding(vocabulary.size, width, padding_idx=vocabulary.pad)
        self.position = nn.Embedding(longest, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        self.layers = nn.ModuleList(TransformerLayer(size, dropout) for _ in range(layers))

    def forward(self, tokens: Int[Tensor, "B L"], position: Int[Tensor, "B L"] | None = None) -> Float[Tensor, "B L D"]:
        """`position` of each token, where it is not its place."""
        if position is None:
            position = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.norm(self.embedding(tokens) + self.position(position)))
        for layer in self.layers:
            x = layer(x, tokens != self.vocabulary.pad)
        return x


class PretrainedEncoder(TextEncoder):
    """An encoder of the Transformers library, with a projection where its width is not the model's."""

    def __init__(self, vocabulary: Vocabulary, architecture: dict[str, Any], width: int, tuned: bool) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__(vocabulary)
        settings = AutoConfig.for_model(**architecture)
        self.encoder: PreTrainedModel = AutoModel.from_config(settings).requires_grad_(tuned)
        _drop_pooler(self.encoder)
        self.tuned, own = tuned, settings.hidden_size
        self.project = nn.Identity() if own == width else nn.Linear(own, width)

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]
        return self.encoder.get_input_embeddings()  # type: ignore[return-value]

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        super().train(mode)
        self.encoder.train(mode and self.tuned)
        return self

    def forward(self, tokens: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        mask = (tokens != self.vocabulary.pad).long()
        if tokens.numel() == 0:  # no reshape of Transformers' own takes that
            return self.project(self.embedding(tokens))
        return self.project(self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state)

    def load(self, checkpoint: str) -> list[str]:
        """Fill the encoder from a checkpoint, a model's name or local folder; names of its tensors that have no place
        here.

        Raises:
            CheckpointMismatch: naming the tensors that the checkpoint lacks or has in another shape.
        """
        from transformers import AutoModel

        place = _location(checkpoint)
        found, info = AutoModel.from_pretrained(
            **place, output_loading_info=True, use_safetensors=True, ignore_mismatched_sizes=True
        )
        tensors = found.state_dict()
        unused = sorted(info["unexpected_keys"]) + sorted(tensors.keys() - self.encoder.state_dict().keys())
        wrong = [name for name in _unfilled(info) if name not in unused]
        if wrong:
            raise CheckpointMismatch(f"{checkpoint} does not fill the text encoder: {', '.join(sorted(wrong)[:5])}")
        self.encoder.load_state_dict({name: tensors[name] for name in self.encoder.state_dict()})
        return unused


class CheckpointMismatch(ValueError):
    """A pretrained checkpoint does not fill what it is loaded into."""


def _unfilled(info: dict[str, Any]) -> list[str]:
    mismatched = [entry if isinstance(entry, str) else entry[0] for entry in info["mismatched_keys"]]
    return [*info["missing_keys"], *mismatched]


def _drop_pooler(encoder: "PreTrainedModel") -> None:
    """It reads the first token alone and would never be trained."""
    if getattr(encoder, "pooler", None) is not None:
        del encoder.pooler
        encoder.register_module("pooler", None)


def _location(checkpoint: str) -> dict[str, str]:
    """Where the Transformer of a checkpoint lies: sentence-transformers' folders may have it in a subfolder."""
    modules = Path(checkpoint) / "modules.json"
    first = json.loads(modules.read_text(encoding="utf-8"))[0]["path"] if modules.is_file() else ""
    return {"pretrained_model_name_or_path": checkpoint, "subfolder": first}


def open_checkpoint(checkpoint: str) -> tuple[TextTokenizer, dict[str, Any]]:
    """Tokenizer and architecture of a sentence-transformers or Hugging Face encoder, by name or local folder.

    Raises:
        ValueError: for one without a fast tokenizer.
        OSError: what Transformers says of one that is not there.
    """
    from transformers import AutoConfig, AutoTokenizer

    place = _location(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(**place)
    if not tokenizer.is_fast:
        raise ValueError(f"text.checkpoint = {checkpoint} has no fast tokenizer (tokenizer.json)")
    return TextTokenizer(tokenizer.backend_tokenizer), AutoConfig.from_pretrained(**place).to_dict()


def save_architecture(directory: Path, architecture: dict[str, Any]) -> None:
    """Into a run's folder, which then needs the checkpoint no more."""
    (directory / ARCHITECTURE).write_text(json.dumps(architecture, indent=2), encoding="utf-8")


def load_architecture(directory: Path) -> dict[str, Any] | None:
    """Of a run whose text encoder is a pretrained one."""
    path = directory / ARCHITECTURE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def text_encoder(config: Config, vocabulary: Vocabulary, architecture: dict[str, Any] | None) -> TextEncoder:
    """As the config has it, with fresh weights; `architecture` is a pretrained encoder's."""
    text, model = config.text, config.model
    if text.front == "pretrained":
        assert architecture is not None
        return PretrainedEncoder(vocabulary, architecture, model.width, text.tuned)
    longest = max(text.title_tokens, text.string_tokens, LONGEST if text.knowledge == "sequence" else 0)
    return WordPieceEncoder(vocabulary, longest, model.text_size, text.layers, model.dropout)
