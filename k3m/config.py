"""Every setting of a run: frozen dataclasses with their checks, TOML presets over the defaults, `--set key=value`
over the preset.

A run folder keeps the resolved config, so that one file reproduces the run. Unknown keys and values of the wrong type
are refused.
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

ImageFront = Literal["pixels", "open_clip", "faster_rcnn"]
TextFront = Literal["wordpiece", "pretrained"]
Knowledge = Literal["strings", "sequence"]
TOWERS = {"pixels": "", "open_clip": "ViT-B-32", "faster_rcnn": "fasterrcnn_resnet50_fpn"}
"""Of each front end, by default."""
Fusion = Literal["mean", "soft", "hard", "off"]
Link = Literal["margin", "softmax"]
Score = Literal["transe", "transe_squared", "complex"]
Modality = Literal["title", "image", "graph"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {expected} (got {got!r})")


@dataclass(frozen=True, kw_only=True)
class VisibleConfig:
    fields: tuple[str, ...] = ()
    """Item fields, beyond title and image, that the model may read; each becomes one more visible triple `<item,
    field, value>`."""
    without: tuple[Modality, ...] = ()
    """Modalities that the model is never shown: title, image, graph (all triples but those of visible fields, which
    are asked for all the same)."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Item fields that the model reads."""
        return (*(name for name in ("title", "image") if name not in self.without), *self.fields)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    batch_size: int = 128
    """Items a step."""
    fan_out: tuple[int, ...] = (64,)
    """A number a hop: visible triples drawn for an item at most; then, for each of them, other items that share its
    value."""
    hub_limit: int = 1000
    """Values that more triples have are passed over by the second hop."""
    replace: bool = False
    """Draw neighbours with replacement."""
    property_cap: int = 0
    """Visible triples of one property an item at most; 0 for no cap."""
    workers: int = 0
    """Loader processes; each opens its own handle on the store."""

    def __post_init__(self) -> None:
        _require(self.batch_size >= 1, "data.batch_size", "at least 1", self.batch_size)
        _require(len(self.fan_out) in (1, 2), "data.fan_out", "one number or two, one a hop", self.fan_out)
        _require(min(self.fan_out) >= 1, "data.fan_out", "at least 1", self.fan_out)
        _require(max(self.fan_out[1:], default=1) <= 8192, "data.fan_out", "at most 8192 at hop 2", self.fan_out)
        _require(self.hub_limit >= 1, "data.hub_limit", "at least 1", self.hub_limit)
        _require(self.property_cap >= 0, "data.property_cap", "at least 0", self.property_cap)


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    front: ImageFront = "pixels"
    """What makes objects of a photograph: pixels (patches, trained from scratch), open_clip (a tower's patch tokens)
    or faster_rcnn (torchvision's detector: regions)."""
    layers: int = 1
    """Layers of the image Transformer above the front end."""
    height: int = 80
    """pixels: photographs are resized to this height, a multiple of 16."""
    width: int = 64
    """pixels: and to this width, a multiple of 16."""
    channels: tuple[int, ...] = (32, 64, 128, 192)
    """pixels: channels of four stages, each of which halves the picture."""
    tower: str = ""
    """open_clip: the model whose image tower is used (ViT-B-32); faster_rcnn: torchvision's detector
    (fasterrcnn_resnet50_fpn)."""
    weights: str = ""
    """open_clip, faster_rcnn: a pretrained tag of the library's or a local file; none: untrained."""
    tuned: bool = True
    """open_clip: train the tower too. faster_rcnn is never tuned."""
    regions: int = 36
    """faster_rcnn: regions a photograph at most, and 10 at least."""
    cache: str = ""
    """Folder in which what frozen front ends (and decoding) give for a photograph is kept, by the photograph's digest;
    none: it is computed each time."""

    def __post_init__(self) -> None:
        _require(self.height % 16 == 0, "image.height", "a multiple of 16", self.height)
        _require(self.width % 16 == 0, "image.width", "a multiple of 16", self.width)
        _require(len(self.channels) == 4, "image.channels", "four numbers", self.channels)
        _require(self.regions >= 10, "image.regions", "at least 10", self.regions)
        if not self.tower:
            object.__setattr__(self, "tower", TOWERS[self.front])

    @property
    def ready(self) -> bool:
        """Whether a frozen model makes the objects beforehand."""
        return self.front == "faster_rcnn" or (self.front == "open_clip" and not self.tuned)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    front: TextFront = "wordpiece"
    """The text encoder that titles, properties and values share: wordpiece (from scratch, its vocabulary learnt from
    the training catalogue) or pretrained (a sentence-transformers or Hugging Face encoder)."""
    layers: int = 2
    """wordpiece: Transformer layers."""
    vocabulary: int = 8000
    """wordpiece: largest vocabulary."""
    checkpoint: str = ""
    """pretrained: a model's name or local folder."""
    tuned: bool = True
    """pretrained: train the encoder too."""
    title_tokens: int = 36
    """Longest title in tokens; longer ones are cut."""
    string_tokens: int = 16
    """Longest property or value in tokens; longer ones are cut."""
    knowledge: Knowledge = "strings"
    """Properties and values one by one, each distinct one once a batch (strings), or as the paper's figure has it: an
    item's pairs in one sequence, which lets pairs see each other (sequence)."""

    def __post_init__(self) -> None:
        if self.front == "pretrained" and not self.checkpoint:
            raise ValueError("text.front = pretrained needs text.checkpoint, a model's name or local folder")
        _require(2 <= self.string_tokens <= 32, "text.string_tokens", "2 to 32", self.string_tokens)


@dataclass(frozen=True)
class LayerSize:
    """Of a Transformer layer."""

    width: int
    heads: int
    feed_forward: int


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    width: int = 128
    """D, the width of text, knowledge and items."""
    attention_heads: int = 4
    """Heads of each layer of the text stream."""
    feed_forward: int = 0
    """Inner width of the text stream's feed-forward layers; 0: four times its width."""
    image_stream: int = 0
    """Width of the image stream; 0, here and in the next two: as the text stream's."""
    image_heads: int = 0
    """Heads of each layer of the image stream, and of co-attention."""
    image_feed_forward: int = 0
    """Inner width of the image stream's feed-forward layers."""
    interaction_layers: int = 2
    """Co-attention layers between image and text."""
    interaction_width: int = 0
    """Width of queries, keys and values in co-attention; 0: as the image stream's."""
    fusion: Fusion = "hard"
    """IFFM variant (paper.md 2.2.2): mean, soft, hard, or off."""
    presence: bool = False
    """The gates of soft and hard are told whether the item has a title and a photograph."""
    item_width: int = 0
    """Width of items, properties and values where they are aggregated and compared; 0: the text's, as in the paper."""
    aggregation_heads: int = 8
    """H of the structure aggregation."""
    wide_bits: int = 0
    """The wide part (k3m/wide.py) has a table of 2 to the power of this many weights; 0: there is none. Of
    loss.link = softmax."""
    shared_values: bool = False
    """Two hops: a value is read with the items that share it, which informs a cold item. Needs a fan-out of two
    numbers."""
    dropout: float = 0.1
    """Dropout after every sublayer of the Transformers, and of the item before its triples are aggregated."""

    @property
    def items_width(self) -> int:
        return self.item_width or self.width

    @property
    def text_size(self) -> "LayerSize":
        return LayerSize(self.width, self.attention_heads, self.feed_forward or 4 * self.width)

    @property
    def image_size(self) -> "LayerSize":
        width = self.image_stream or self.width
        inner = self.image_feed_forward or (4 * width if self.image_stream else self.text_size.feed_forward)
        return LayerSize(width, self.image_heads or self.attention_heads, inner)

    @property
    def interaction_size(self) -> "LayerSize":
        """Of co-attention's queries, keys and values; each stream has a feed-forward layer of its own size."""
        return LayerSize(self.interaction_width or self.image_size.width, self.image_size.heads, 0)

    def __post_init__(self) -> None:
        for name, size in (("width", self.text_size), ("image_stream", self.image_size)):
            _require(size.width % size.heads == 0, f"model.{name}", f"a multiple of its {size.heads} heads", size.width)
        inner = self.interaction_size
        _require(inner.width % inner.heads == 0, "model.interaction_width", "a multiple of image_heads", inner.width)
        _require(0 <= self.dropout < 1, "model.dropout", "in [0, 1)", self.dropout)
        _require(0 <= self.wide_bits <= 28, "model.wide_bits", "0 to 28", self.wide_bits)


@dataclass(frozen=True, kw_only=True)
class CorruptConfig:
    """What pretraining does to the input now and then, so that a modality that is missing or wrong is nothing new. Each
    is a chance an item and epoch; MLM and MOM ask of what is shown."""

    drop_title: float = 0.0
    """The title is missing."""
    drop_image: float = 0.0
    """The photograph is missing."""
    drop_graph: float = 0.0
    """Most of the triples are missing: a share of them, drawn anew for the item, is not shown; LPM asks for them all
    the same."""
    swap_title: float = 0.0
    """The title is another item's of the batch."""
    swap_image: float = 0.0
    """The photograph is another item's of the batch."""
    flip_image: float = 0.0
    """The photograph is mirrored; like the next, of front ends that are trained on pixels."""
    shift_image: int = 0
    """The photograph is moved by up to this many pixels either way, its edges repeated; of every item."""

    def __post_init__(self) -> None:
        for name in ("drop_title", "drop_image", "drop_graph", "swap_title", "swap_image", "flip_image"):
            _require(0 <= getattr(self, name) <= 1, f"corrupt.{name}", "in [0, 1]", getattr(self, name))
        _require(self.shift_image >= 0, "corrupt.shift_image", "at least 0", self.shift_image)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    lpm: float = 1.0
    """Weight of the link-prediction loss."""
    mlm: float = 1.0
    """Weight of masked language modelling."""
    mom: float = 1.0
    """Weight of masked object modelling."""
    link: Link = "margin"
    """Link prediction: margin (the paper's) or softmax over the property's candidate values."""
    margin: float = 1.0
    """margin: gamma."""
    score: Score = "transe"
    """softmax: what is scored, transe (-||c* + p - v||), transe_squared, or complex (ComplEx's trilinear product)."""
    norm: int = 1
    """transe: norm of the distance, 1 or 2."""
    temperature: float = 0.05
    """softmax: scores are divided by it."""
    n3: float = 0.0
    """softmax: weight of the N3 penalty on c*, p and v."""
    reciprocal: bool = False
    """softmax: ask also for the item, among the batch's, by its property and value."""
    rejected: float = 0.0
    """Weight of what people rejected of proposals, each held against the property's other candidates; 0: not read. The
    same as lpm lets an item with a rejection count like one with a hidden triple."""
    hide: float = 0.15
    """Chance of each triple of an item to be hidden at a step; one is hidden at least."""
    balance: float = 0.0
    """A triple counts by the number of its property's training triples to the power of -balance, 1 on average: 0 for
    each the same, 1 for each property the same."""
    leave_one_out: bool = False
    """Hide nothing; ask for every visible triple from the others of its item: the exact mean over them."""
    value_negatives: int = 16
    """Replaced values a hidden triple, drawn from the property's candidates (all of them where there are fewer)."""
    item_negatives: int = 4
    """Replaced items a hidden triple, drawn from the batch."""
    mask_title: float = 0.15
    """Share of title tokens that MLM asks for."""
    mask_image: float = 0.15
    """Share of image objects that MOM asks for."""

    def __post_init__(self) -> None:
        _require(self.margin > 0, "loss.margin", "> 0", self.margin)
        _require(self.norm in (1, 2), "loss.norm", "1 or 2", self.norm)
        for name in ("hide", "mask_title", "mask_image"):
            _require(0 < getattr(self, name) < 1, f"loss.{name}", "in (0, 1)", getattr(self, name))
        _require(self.temperature > 0, "loss.temperature", "> 0", self.temperature)
        if self.link == "margin" and self.score != "transe":
            raise ValueError(f"loss.link = margin scores by transe (got loss.score = {self.score})")
        for name in ("lpm", "mlm", "mom", "n3", "rejected", "balance", "value_negatives", "item_negatives"):
            _require(getattr(self, name) >= 0, f"loss.{name}", "at least 0", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    peak_lr: float = 1e-3
    """Learning rate after warm-up."""
    weight_decay: float = 0.01
    """AdamW's decay, on matrices only."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's moments."""
    warmup: float = 0.1
    """Share of all steps over which the learning rate rises; it falls linearly to 0 afterwards."""
    clip: float = 1.0
    """Largest gradient norm."""

    def __post_init__(self) -> None:
        _require(self.peak_lr > 0, "optim.peak_lr", "> 0", self.peak_lr)
        _require(0 <= self.warmup < 1, "optim.warmup", "in [0, 1)", self.warmup)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    seed: int = 0
    """Of every draw: order, neighbours, hidden triples, masks, negatives, initial weights."""
    epochs: int = 4
    """Passes over the items."""
    steps: int = 0
    """Steps to take; 0 means all of the epochs."""
    eval_triples: int = 2000
    """Triples of split 'valid' that validation ranks, drawn once; 0 turns validation off."""
    log_every: int = 10
    """Steps between two lines of metrics.jsonl."""
    save_every: int = 100
    """Steps between two checkpoints."""
    health_every: int = 100
    """Steps between two measurements of the objectives' gradients, each of which costs two steps' time."""
    patience: int = 0
    """Stop after this many validations without a better one; 0: never."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    precision: Precision = "auto"
    """Arithmetic of the training step: float32, bfloat16 (autocast), or auto: bfloat16 where the processor has it."""

    def __post_init__(self) -> None:
        for name in ("epochs", "log_every", "save_every", "health_every"):
            _require(getattr(self, name) >= 1, f"train.{name}", "at least 1", getattr(self, name))
        _require(self.patience >= 0, "train.patience", "at least 0", self.patience)


@dataclass(frozen=True, kw_only=True)
class WarmConfig:
    """What is other in a run that begins with another's weights (`k3m train --from`): less of it."""

    epochs: int = 1
    """In the place of train.epochs."""
    peak_lr: float = 0.0
    """In the place of optim.peak_lr; 0: the same."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "warm.epochs", "at least 1", self.epochs)
        _require(self.peak_lr >= 0, "warm.peak_lr", "at least 0", self.peak_lr)


@dataclass(frozen=True, kw_only=True)
class Config:
    visible: VisibleConfig = field(default_factory=VisibleConfig)
    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    corrupt: CorruptConfig = field(default_factory=CorruptConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    warm: WarmConfig = field(default_factory=WarmConfig)

    def __post_init__(self) -> None:
        if self.data.replace and self.loss.leave_one_out:
            raise ValueError(
                "data.replace may show a triple twice, and loss.leave_one_out would then ask for one that it shows: "
                "set one of them to false"
            )
        if self.text.knowledge == "sequence" and self.loss.leave_one_out:
            raise ValueError(
                "text.knowledge = sequence lets the pairs of an item see each other, and loss.leave_one_out would then "
                "ask for what they have seen: set loss.leave_one_out = false"
            )
        if self.image.ready and (self.corrupt.flip_image or self.corrupt.shift_image):
            raise ValueError(
                "corrupt.flip_image and corrupt.shift_image change pixels, and a frozen front end gives none: set both "
                "to 0"
            )
        if self.model.shared_values and len(self.data.fan_out) != 2:
            raise ValueError(f"model.shared_values needs a data.fan_out of two numbers (got {self.data.fan_out})")
        if self.model.wide_bits and self.loss.link == "margin":
            raise ValueError("model.wide_bits needs loss.link = softmax: a distance has no place for the wide part")
        if self.loss.score == "complex" and self.model.items_width % 2:
            raise ValueError(f"loss.score = complex needs items of an even width (got {self.model.items_width})")

    @classmethod
    def from_preset(cls, preset: str, settings: Sequence[str] = ()) -> Self:
        """The named preset with `section.key=value` settings over it.

        Raises:
            ValueError: for an unknown preset, section or key, or a value that does not read as the key's type.
        """
        folder = resources.files("k3m") / "presets"
        file = folder / f"{preset}.toml"
        if not file.is_file():
            known = sorted(
                entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
            )
            raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(known)}")
        return cls._read(file.read_text(encoding="utf-8"), settings)

    @classmethod
    def _read(cls, toml: str, settings: Sequence[str]) -> Self:
        values = tomllib.loads(toml)
        for setting in settings:
            _apply(values, setting, cls)
        return cls.from_dict(values)

    @classmethod
    def warm_from(cls, path: Path, settings: Sequence[str] = ()) -> Self:
        """Of a run that begins with the weights of the run whose config is at `path`: its settings, as much training as
        `warm` says, and `settings` over both."""
        own = cls._read(path.read_text(encoding="utf-8"), settings)
        less = dataclasses.replace(
            own,
            train=dataclasses.replace(own.train, epochs=own.warm.epochs, steps=0),
            optim=dataclasses.replace(own.optim, peak_lr=own.warm.peak_lr or own.optim.peak_lr),
        )
        return cls._read(less.to_toml(), settings)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        sections = {entry.name: entry for entry in dataclasses.fields(cls)}
        _refuse_unknown("section", values, sections)
        hints = get_type_hints(cls)
        return cls(**{name: _section(hints[name], name, entries) for name, entries in values.items()})

    @classmethod
    def load(cls, path: Path, settings: Sequence[str] = ()) -> Self:
        """The config at `path` with `section.key=value` settings over it.

        Raises:
            ValueError: as `from_preset`.
        """
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        for setting in settings:
            _apply(values, setting, cls)
        return cls.from_dict(values)

    def to_toml(self) -> str:
        """Every setting, resolved; `Config.load` reads it back."""
        sections = dataclasses.asdict(self).items()
        return "\n".join(
            f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in entries.items())
            for name, entries in sections
        )


def _refuse_unknown(kind: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"unknown {kind} {', '.join(unknown)}: expected one of {', '.join(known)}")


def _section(owner: Any, name: str, entries: Mapping[str, Any]) -> Any:
    hints = get_type_hints(owner)
    _refuse_unknown(f"key in [{name}]:", entries, hints)
    return owner(**{key: _typed(f"{name}.{key}", value, hints[key]) for key, value in entries.items()})


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`; TOML's lists become tuples and its integers may stand for floats."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if ... in get_args(kind) and type(value) is inner:  # a lone value is a tuple of one
            value = (value,)
        _require(isinstance(value, list | tuple), name, "a list", value)
        if ... not in get_args(kind):
            _require(len(value) == len(get_args(kind)), name, f"a list of {len(get_args(kind))}", value)
        return tuple(_typed(name, entry, inner) for entry in value)
    if get_origin(kind) is Literal:
        _require(value in get_args(kind), name, f"one of {', '.join(get_args(kind))}", value)
        return value
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, name, f"of type {kind.__name__}", value)
    return value


def _apply(values: dict[str, Any], setting: str, owner: type) -> None:
    """Write one `section.key=value` into `values`; the value is read as TOML, else as a plain string."""
    path, separator, text = setting.partition("=")
    section, dot, key = path.partition(".")
    if not (separator and dot):
        raise ValueError(f"--set takes section.key=value (got {setting!r})")
    value = _parsed(text)
    hints = get_type_hints(get_type_hints(owner).get(section, object))
    if get_origin(hints.get(key)) is tuple and not isinstance(value, list):
        value = [_parsed(part) for part in text.split(",") if part]
    values.setdefault(section, {})[key] = value


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(entry) for entry in value)}]"
    if isinstance(value, str):
        # A TOML basic string knows JSON's escapes.
        import json

        return json.dumps(value, ensure_ascii=False)
    return repr(value)
