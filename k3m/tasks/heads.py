"""What stands between an item's vector and a task's answer. Legend: n examples, D width, O outputs."""

from jaxtyping import Float
from torch import Tensor, nn

from k3m.tasks.config import TaskConfig


class Perceptron(nn.Module):
    """One hidden layer as wide as `hidden`, or none (`TaskConfig.single`). Its input is normalised: vectors of
    different models differ in scale."""

    def __init__(self, width: int, hidden: int, out: int, config: TaskConfig) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(config.dropout)
        last = nn.Linear(width if config.single else hidden, out)
        self.layers = nn.Sequential(last) if config.single else nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)

    def forward(self, x: Float[Tensor, "*n D"]) -> Float[Tensor, "*n O"]:
        return self.layers(self.dropout(self.norm(x)))
