"""Item initialisation and structure aggregation (paper.md 2.2.3 and 2.2.4).

Legend: B items, L tokens, M objects, S strings, E triples, H heads, D width, G
that of the image stream, C that of items where it is another, Z shared values.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu
from torch_geometric.utils import scatter, softmax

GAIN = 4.0
"""Initial scale of W1 and W3 over torch's own: means over tokens, objects and triples have lost most of their variance,
and distances to property values, which have unit variance, must follow from what is left (docs/log.md)."""


class ItemInitialisation(nn.Module):
    """c = mean_pooling(h_t, W0 h_i) over valid tokens and objects; an item that has neither starts from zero.

    Args:
        widen: from the text's width to the item's, where that is another one.
    """

    def __init__(self, width: int, image_width: int, dropout: float = 0.0, widen: nn.Module | None = None) -> None:
        super().__init__()
        self.w0 = nn.Linear(image_width, width)
        self.dropout = nn.Dropout(dropout)
        self.widen = widen or nn.Identity()

    def forward(
        self,
        text: Float[Tensor, "B L D"],
        text_valid: Bool[Tensor, "B L"],
        image: Float[Tensor, "B M G"],
        image_valid: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B C"]:
        total = (text * text_valid[..., None]).sum(1) + (self.w0(image) * image_valid[..., None]).sum(1)
        return self.dropout(self.widen(total / (text_valid.sum(1) + image_valid.sum(1)).clamp(min=1)[:, None]))


@dataclass(frozen=True)
class ScoredTriples:
    """t_x and b_x of every visible triple and head, and the row of its item."""

    triple: Float[Tensor, "E H D"]
    score: Float[Tensor, "E H"]
    item: Int[Tensor, " E"]


class SharedValues(nn.Module):
    """v_x read with the items that share the value, other items than the triple's own: v_x + sigma(W4 [mean of their c
    || v_x]). What is not in the paper: it lets items that look like the value's inform one that is cold."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w4 = nn.Linear(2 * width, width)

    def forward(
        self, value: Float[Tensor, "E D"], shared: Float[Tensor, "Z D"], triple: Int[Tensor, " Z"]
    ) -> Float[Tensor, "E D"]:
        """`shared`: c of the items that share, for each the visible triple whose value it is; a value that nobody
        shares stays as it is."""
        mean = scatter(shared, triple, dim=0, dim_size=len(value), reduce="mean")
        is_shared = torch.zeros(len(value), 1, device=value.device).index_fill(0, triple, 1.0)
        return value + is_shared * elu(self.w4(torch.cat([mean, value], dim=1)))


class StructureAggregation(nn.Module):
    """The paper's "enhanced GAT": t_x = W1 [c || p_x || v_x], b_x = LeakyReLU(W2 t_x), a_x = softmax over the item's
    triples of b_x, c* = W3 c + sigma(mean over heads of sum_x a_x t_x). W1 and W2 are per head; sigma, open in the
    paper, is GAT's ELU.

    W1 is kept as three matrices, for c, p and v: its product with the concatenation is then the sum of a term an item
    and two terms a distinct string, none of which is computed twice.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.w1_item = nn.Linear(width, heads * width)
        self.w1_property, self.w1_value = (nn.Linear(width, heads * width, bias=False) for _ in range(2))
        self.w2 = nn.Parameter(torch.empty(heads, width))
        self.w3 = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.w2)
        for matrix in (self.w1_item, self.w1_property, self.w1_value, self.w3):
            matrix.weight.data.mul_(GAIN)

    def score(
        self,
        item: Float[Tensor, "B D"],
        strings: Float[Tensor, "S D"],
        triple_item: Int[Tensor, " E"],
        triple_property: Int[Tensor, " E"],
        triple_value: Int[Tensor, " E"],
    ) -> ScoredTriples:
        """The triples, whose properties and values are rows of `strings`."""
        triple_EHD = (
            self.w1_item(item)[triple_item]
            + _of_used(self.w1_property, strings, triple_property)
            + _of_used(self.w1_value, strings, triple_value)
        ).unflatten(1, (self.heads, -1))
        return ScoredTriples(triple_EHD, leaky_relu((triple_EHD * self.w2).sum(-1), 0.2), triple_item)

    def forward(self, item: Float[Tensor, "B D"], triples: ScoredTriples) -> Float[Tensor, "B D"]:
        """c*; an item without triples keeps W3 c."""
        weight_EH = softmax(triples.score, triples.item, num_nodes=len(item))
        weighted_EHD = weight_EH[..., None] * triples.triple
        neighbourhood_BHD = scatter(weighted_EHD, triples.item, dim=0, dim_size=len(item), reduce="sum")
        return self.w3(item) + elu(neighbourhood_BHD.mean(1))

    def leave_one_out(self, item: Float[Tensor, "B D"], triples: ScoredTriples) -> Float[Tensor, "E D"]:
        """For each triple y its item's c* from the item's other triples, in closed form per head (paper.md 2.3):
        (sum_x a_x t_x - a_y t_y) / (1 - a_y). An item's only triple leaves W3 c.

        Where y has nearly all of the weight, 1 - a_y is no number to divide by, and any bound on it would tell the
        value of y. So the triple with the highest score, `leader`, is kept apart from the sums of the others, which
        are relative to the highest score among them: no denominator is below 1.
        """
        triple_EHD, score_EH, triple_item = triples.triple.float(), triples.score.float(), triples.item
        alone_E = torch.bincount(triple_item, minlength=len(item))[triple_item] == 1
        leads_EH, leader_EH = _leaders(score_EH, triple_item, len(item))
        highest_EH = score_EH.gather(0, leader_EH)
        second_EH = _highest(score_EH.masked_fill(leads_EH, -torch.inf), triple_item, len(item))[triple_item]
        second_EH = torch.where(alone_E[:, None], highest_EH.detach(), second_EH)
        weight_EH = (score_EH - second_EH).masked_fill(leads_EH, -torch.inf).exp()
        weighted_EHD = weight_EH[..., None] * triple_EHD
        total_EH, total_EHD = (
            scatter(part, triple_item, dim=0, dim_size=len(item))[triple_item] for part in (weight_EH, weighted_EHD)
        )
        leading_EHD = triple_EHD.gather(0, leader_EH[..., None].expand_as(triple_EHD))
        # Where another leads, it stays with weight 1, and the others, less y, are scaled down to it.
        scale_EH = torch.where(leads_EH, 1.0, (second_EH - highest_EH).exp())
        led_EH = torch.where(leads_EH, 0.0, 1.0)
        left_EH = (led_EH + scale_EH * (total_EH - weight_EH)).masked_fill(alone_E[:, None], 1.0)
        rest_ED = (
            _summed(scale_EH / left_EH, total_EHD)
            - _summed(scale_EH * weight_EH / left_EH, triple_EHD)
            + _summed(led_EH / left_EH, leading_EHD)
        ) / self.heads
        rest_ED = rest_ED.to(item.dtype).masked_fill(alone_E[:, None], 0.0)
        return self.w3(item)[triple_item] + elu(rest_ED)


def _of_used(matrix: nn.Linear, strings: Float[Tensor, "S D"], rows: Int[Tensor, " E"]) -> Float[Tensor, "E HD"]:
    """Of the strings that triples have: a batch holds many more, those that replace them."""
    used, place = rows.unique(return_inverse=True)
    return matrix(strings[used])[place]


def _summed(weight_EH: Float[Tensor, "E H"], triple_EHD: Float[Tensor, "E H D"]) -> Float[Tensor, "E D"]:
    with torch.autocast(weight_EH.device.type, enabled=False):  # bfloat16 would leave traces of what is taken out
        return (weight_EH[:, None] @ triple_EHD)[:, 0]


def _highest(score_EH: Float[Tensor, "E H"], triple_item: Int[Tensor, " E"], items: int) -> Float[Tensor, "B H"]:
    rows = triple_item[:, None].expand_as(score_EH)
    lowest = score_EH.new_full((items, score_EH.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, rows, score_EH.detach(), "amax")  # a reference: it cancels in every weight


def _leaders(
    score_EH: Float[Tensor, "E H"], triple_item: Int[Tensor, " E"], items: int
) -> tuple[Bool[Tensor, "E H"], Int[Tensor, "E H"]]:
    """Whether a triple has its item's highest score (the first of equals), and which triple has."""
    order_EH = torch.arange(len(score_EH), device=score_EH.device)[:, None].expand_as(score_EH)
    highest_EH = score_EH == _highest(score_EH, triple_item, items)[triple_item]
    candidates_EH = order_EH.masked_fill(~highest_EH, len(score_EH))
    leader_EH = scatter(candidates_EH, triple_item, dim=0, dim_size=items, reduce="min")[triple_item]
    return order_EH == leader_EH, leader_EH
