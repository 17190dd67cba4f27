"""Rows under conditions that all of them meet, chosen from a pool of proposals.

The decoder knows whole rows best: it learned them from every row, seeing z. So rows are proposed as they are without
conditions, except that a condition's column is drawn from what the condition leaves of it, and a proposal's weight is
the probability of what was left (importance sampling; Robert and Casella 2004, section 3.3). All rows of the sample
being alike, they are chosen from one pool in proportion to the weights, none of them twice. Where a few proposals hold
most of the weight this can't be done, and the decoder that was given the conditions proposes instead (drawing.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tvae_core.drawing import COST, Draft, Lane, Tables, draft

if TYPE_CHECKING:
    from tvae_core.causal import CausalDecoder

# A pool serves where at most this share of the rows would have to be chosen more than once; more proposals than leave
# the smaller share aren't drawn.
LARGEST_EXCESS, SMALL_EXCESS = 0.12, 0.02
MOST_PROPOSALS = 8
# Proposals' weights are cut off in this many rounds at most: each leaves a little more for the others.
CUTTING_ROUNDS = 20


@dataclass(frozen=True)
class Limits:
    """What conditions leave of rows: cells that are known, and columns of which several codes are allowed.

    codes, known (rows, columns); shares: by column, how much of each code is allowed (codes of the column,); groups
    (rows,): rows of one number stand for each other.
    """

    codes: Tensor
    known: Tensor
    shares: dict[int, Tensor]
    groups: Tensor

    def rows(self, part: Tensor) -> "Limits":
        """The limits of some of the rows (n,)."""
        return Limits(self.codes[part], self.known[part], self.shares, self.groups[part])

    def last(self) -> int:
        """One past the last column with a condition."""
        return 1 + max([*self.shares, *self.known.any(0).nonzero()[:, 0].tolist()])


@torch.no_grad()
def draw_within(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    limits: Limits,
    barred: Mapping[int, Sequence[int]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw n rows within limits from z (count, n, D) and uniforms (n, columns, 2) -> codes (n, columns).

    `barred` names, by column, tokens that are not drawn. Also returns the proposals' log-weights (count, n).
    """
    last = limits.last()
    pools = [
        propose(decoder, tables, part, (uniforms + k / len(z)).frac(), limits, barred)
        for k, part in enumerate(z)
    ]
    weight = torch.stack([weight for *_, weight in pools])
    chosen = choose(weight, limits.groups)
    rows = replace(
        pools[0][0],
        uniforms=uniforms,
        state=torch.cat([rows.state for rows, *_ in pools])[chosen],
        unseen=torch.cat([rows.unseen for rows, *_ in pools])[chosen],
        codes=torch.cat([rows.codes for rows, *_ in pools])[chosen],
        given=None,
        known=None,
    )
    base, mixed = (
        torch.cat([getattr(lane, part) for _, lane, _ in pools])[chosen] for part in ("base", "mixed")
    )
    rows.through(Lane(decoder, tables, base, mixed), first=last)
    return rows.codes, weight


def propose(
    decoder: "CausalDecoder",
    tables: Tables,
    z: Tensor,
    uniforms: Tensor,
    limits: Limits,
    barred: Mapping[int, Sequence[int]] | None,
) -> tuple[Draft, Lane, Tensor]:
    """One proposal for each row, up to the last column with a condition, and its log-weight (rows,)."""
    rows = draft(decoder, tables, uniforms, given=limits.codes, known=limits.known, barred=barred)
    lane = Lane.start(decoder, tables, decoder.base(rows.codes, z, None))
    weight = torch.zeros(len(z), device=z.device)
    for j in range(limits.last()):
        h, logits = lane.column(j, rows.state)
        logits = rows.bar(j, logits)
        if j in limits.shares:
            weight += rows.place_share(j, h, logits, limits.shares[j])
            continue
        rows.place(j, h, logits)
        if bool(limits.known[:, j].any()):
            weight += rows.log_share(j, logits) + rows.log_fine_share(j, h)
    return rows, lane, weight


def most_proposals(share: float) -> int:
    """Proposals for each row that keep to `COST`, the last condition being reached after a `share` of a row's work.

    >>> most_proposals(1.0), most_proposals(0.5), most_proposals(0.1)
    (2, 4, 8)
    """
    return max(2, min(MOST_PROPOSALS, int((COST - 1 + share) / share)))


def proposals_needed(weight: Tensor, groups: Tensor) -> int | None:
    """As few proposals as serve for each row, by the log-weights (count, n) of a first pool; None if no number does.

    >>> even, one = torch.zeros(4, 10), torch.zeros(4, 10).index_fill(1, torch.tensor([3]), 5.0)
    >>> groups = torch.zeros(10, dtype=torch.int64)
    >>> proposals_needed(even, groups), proposals_needed(one, groups)
    (2, None)
    """
    count, n = weight.shape
    times = torch.zeros_like(weight)
    for group in groups.unique():
        held = groups == group
        times[:, held] = torch.softmax(weight[:, held].flatten(), 0).view(count, -1) * held.sum()
    for fewer in range(2, count + 1):
        # Each of fewer proposals would be chosen more often.
        often = times * (count / fewer)
        excess = float((often - 1).clamp(min=0).sum()) * fewer / count / n
        if excess <= (LARGEST_EXCESS if fewer == count else SMALL_EXCESS):
            return fewer
    return None


def choose(weight: Tensor, groups: Tensor) -> Tensor:
    """Choose n of count * n proposals by their log-weights (count, n), within groups (n,) -> numbers (n,).

    Evenly spaced along the weights (systematic resampling). Row i of the n takes one of its own group's proposals; a
    weight that would be chosen more than once is cut off.

    >>> weight = torch.tensor([[0.2, 0.1, 0.1], [0.2, 0.2, 0.2]]).log()
    >>> choose(weight, torch.zeros(3, dtype=torch.int64)).tolist()
    [0, 3, 5]
    >>> choose(torch.tensor([[0.7, 0.1], [0.1, 0.1]]).log(), torch.tensor([4, 4])).tolist()
    [0, 2]
    """
    numbers = torch.arange(weight.numel(), device=weight.device).view(weight.shape)
    chosen = torch.zeros_like(groups)
    for group in groups.unique():
        held = groups == group
        steps = cut_off(torch.softmax(weight[:, held].flatten().double(), 0) * held.sum()).cumsum(0)
        middles = (torch.arange(int(held.sum()), device=steps.device) + 0.5) / held.sum() * steps[-1]
        places = torch.searchsorted(steps, middles).clamp_(max=len(steps) - 1)
        chosen[held] = numbers[:, held].flatten()[places]
    return chosen


def cut_off(times: Tensor) -> Tensor:
    """How often each proposal is to be chosen (proposals,), none more than once; the sum is kept where that can be.

    >>> cut_off(torch.tensor([1.5, 0.25, 0.25])).tolist()
    [1.0, 0.5, 0.5]
    """
    total = times.sum()
    for _ in range(CUTTING_ROUNDS):
        over = times >= 1.0
        left, free = total - over.sum(), times[~over].sum()
        if not bool(over.any()) or not bool(free > 0) or not bool(left > 0):
            break
        times = torch.where(over, 1.0, times * (left / free))
        if bool((times <= 1.0).all()):
            break
    return times
