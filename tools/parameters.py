"""`python tools/parameters.py PRESET [section.key=value ...]`: the model's parameters by part."""

import sys

from k3m.config import Config
from k3m.model import K3M, parameter_counts
from k3m.text import Vocabulary


def main(preset: str, *settings: str) -> None:
    config = Config.from_preset(preset, settings)
    counts = parameter_counts(K3M(config, Vocabulary(config.text.vocabulary)))
    for part, number in counts.items():
        print(f"{part:16} {number:12,}")
    print(f"{'all':16} {sum(counts.values()):12,}")


if __name__ == "__main__":
    main(*sys.argv[1:])
