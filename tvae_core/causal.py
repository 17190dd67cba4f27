"""A decoder whose columns may look at columns already known.

One pass gives every column's softmax given z, the columns before it, and any set of cells given from outside. What a
column sees is a running sum over the cells before it, so time and memory grow linearly with the columns (a neural
autoregressive estimator: Larochelle and Murray 2011; order-agnostic training over given sets: Uria et al. 2014,
arXiv:1310.1757). Cells given from outside are seen by every column: conditional sampling and imputation are ordinary
sampling with some cells known, exact for any set of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.column_linear import ColumnLinear
from tvae_core.drawing import Tables, draw_from_prior, draw_given
from tvae_core.embedding import CodeTable, RankMaps
from tvae_core.fine import FinePlaces
from tvae_core.layout import Layout
from tvae_core.likelihood import Noise, View, draw_share, rows_at_a_time
from tvae_core.losses import SegmentsOnce, segment_cross_entropy
from tvae_core.model import Rows
from tvae_core.products import rounded_products
from tvae_core.randommask import MaskPool
from tvae_core.resampling import rows_of_a_pool
from tvae_core.tilt import fit_tilt

# Share of the training rows in which some cells are given, share in which nothing is, not even z, and share in which
# later columns see only a prefix.
GIVEN_SHARE, NOTHING_SHARE, PREFIX_SHARE = 0.45, 0.2, 0.1
# Dropout's masks for a batch.
DROPPED = 4
# Added to every token's share before its log is taken: a token of no rows starts unlikely, not impossible.
SMALLEST_SHARE = 1e-5


class CausalDecoder(nn.Module):
    """p(cell | z, cells before it, given cells) for all columns at once.

    width: size H of the running state; units: size U of each column's own layers; a column's head has two layers,
    the second seeing the first ones of the columns before it, and a linear path around them.
    """

    code_offsets: Tensor
    margins: Tensor
    tilt: Tensor

    def __init__(self, layout: Layout, embedding_dim: int, width: int, units: int, *, dropout: float) -> None:
        super().__init__()
        self.layout, self.width, self.dropout = layout, width, dropout
        columns, tokens = len(layout.columns), sum(layout.tokens)
        self.before, self.given = CodeTable(layout, width), CodeTable(layout, width)
        self.given_flag = nn.Parameter(torch.empty(columns, width))
        self.from_z = nn.Linear(embedding_dim, width)
        self.without_z = nn.Parameter(torch.empty(width))
        self.position = nn.Parameter(torch.empty(columns, 1, width))
        self.first = ColumnLinear(columns, width, units)
        self.mix = nn.Parameter(torch.empty(columns, units, width))
        self.second = ColumnLinear(columns, width, units)
        self.inner, self.outer = (
            ColumnLinear(columns, units, units),
            nn.Parameter(torch.empty(columns, units, units)),
        )
        # From the running state straight to the features: pairs of columns need no hidden layer, and no dropout.
        self.direct = nn.Parameter(torch.empty(columns, width, units))
        self.out, self.out_maps = (
            nn.Parameter(torch.empty(tokens, units)),
            RankMaps(layout, units, per_token=True),
        )
        self.bias = nn.Parameter(torch.empty(tokens))
        self.fine = FinePlaces(layout, units)
        offsets = torch.from_numpy(layout.code_offsets)
        self.register_buffer("code_offsets", offsets, persistent=False)
        # Each code's share of its column's training rows.
        self.register_buffer("margins", torch.zeros(sum(layout.codes)))
        # Added to the biases where z comes from the prior.
        self.register_buffer("tilt", torch.zeros(tokens))
        self.segments = SegmentsOnce(layout)
        self.masks: MaskPool | None = None

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Normal weights, scaled so that sums over columns and units have about unit variance."""
        columns, units = self.mix.shape[0], self.mix.shape[1]
        for table in (self.before, self.given):
            table.initialise(columns**-0.5, generator)
        for zero in (self.given_flag, self.without_z, self.bias, self.direct):
            nn.init.zeros_(zero)
        nn.init.normal_(self.position, 0.0, 0.3, generator=generator)
        for weight in (self.mix, self.outer):
            nn.init.normal_(weight, 0.0, units**-0.5, generator=generator)
        for weight in (self.out, self.out_maps.maps):
            nn.init.normal_(weight, 0.0, 0.3 * units**-0.5, generator=generator)

    def views(self, rows: int, generator: torch.Generator) -> View:
        """What each row of a training batch may look at: z and all before, a given set, or only a prefix.

        In the first rows a random set of random size is given and z is hidden, so that the given cells must tell what z
        would; in the next nothing is given and z is hidden as well, so that the cells before a column must tell it; in
        a tenth of all a column sees only the cells before a random place. Batches come in random order: which rows are
        the first means nothing.
        """
        columns, device = len(self.layout.columns), generator.device
        given, hidden = int(GIVEN_SHARE * rows), int((GIVEN_SHARE + NOTHING_SHARE) * rows)
        known = self._random_sets(given, generator)
        z_seen = torch.arange(rows, device=device).unsqueeze(1) >= hidden
        cut = torch.rand(rows, 1, generator=generator, device=device) < PREFIX_SHARE
        place = torch.randint(0, columns, (rows, 1), generator=generator, device=device)
        prefix = ~cut | (torch.arange(columns, device=device) < place)
        return View(known, z_seen, prefix.float())

    def dropout_masks(self, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """A training batch's masks for `nll`, none where nothing is dropped."""
        if not self.dropout:
            return ()
        if self.masks is None or self.masks.generator is not generator:
            self.masks = MaskPool(self.dropout, generator)
        units = self.outer.shape[1]
        return tuple(self.masks.draw(len(self.layout.columns), rows, units) for _ in range(DROPPED))

    def given_view(self, rows: int, generator: torch.Generator) -> View | None:
        """Every row given a random set of its cells, z hidden; None for a single column, which has no others."""
        if len(self.layout.columns) == 1:
            return None
        known = self._random_sets(rows, generator)
        return View(known, ~known.any(1, keepdim=True), torch.ones(known.shape, device=known.device))

    def _random_sets(self, rows: int, generator: torch.Generator) -> Tensor:
        """At least one cell and not all of them (rows, columns); small sets are likelier, being what people ask for."""
        columns, device = len(self.layout.columns), generator.device
        share = torch.rand(rows, 1, generator=generator, device=device)
        count = (1 + ((columns - 1) * share**2).floor()).clamp(max=columns - 1)
        return torch.rand(rows, columns, generator=generator, device=device).argsort(1) < count

    def nll(self, rows: Rows, z: Tensor, view: View | None, masks: Sequence[Tensor] = ()) -> Tensor:
        """-log p(row | z) in nats of the cells that are not known -> (rows,).

        masks: `dropout_masks`, or none. The same computation for every batch of as many rows: no step of it waits for
        a result, so that a GPU can record and repeat it.
        """
        base = self.base(rows.codes, z, view)
        seen = self.before.each(rows.codes)  # (columns, rows, width)
        if view is not None:
            seen = seen * view.prefix.T[:, :, None]
        state = exclusive_sum(seen, start=base).add_(self.position)
        tokens = self.before.token_of_code[rows.codes]
        h = self._heads(state, masks)
        loss = segment_cross_entropy(self._logits(h), tokens, self.segments(z.device))
        loss = self.fine.add_nll(loss, h, rows.codes, tokens)
        if view is None:
            return loss.sum(1)
        unknown = F.pad(~view.known, (0, 0, 0, len(loss) - len(view.known)), value=True)
        return (loss * unknown).sum(1)

    def restore_masks(self, generator: torch.Generator, state: Tensor, size: int) -> None:
        """Draw dropout's pool again, as a training that is resumed had it."""
        self.masks = MaskPool(self.dropout, generator)
        self.masks.redraw(state, size)

    def base(self, codes: Tensor, z: Tensor, view: View | None) -> Tensor:
        """What every column of a row sees: z or its absence, and the given cells (rows, width)."""
        base: Tensor = self.from_z(z)
        if view is None:
            return base
        base = torch.where(view.z_seen, base, self.without_z)
        known = view.known.to(base.dtype)
        if not len(known):
            return base
        given = self.given.sum(codes[: len(known)], known) + known @ self.given_flag
        return base + F.pad(given, (0, 0, 0, len(base) - len(known)))

    def _heads(self, state: Tensor, masks: Sequence[Tensor]) -> Tensor:
        """Running states (columns, rows, width) -> each column's features (columns, rows, units)."""
        after_first, after_second, after_inner, at_end = masks or (None,) * DROPPED
        with rounded_products(state.device):
            low = dropped(F.silu(self.first(normalised(state))), after_first)
            direct = torch.bmm(state, self.direct)
            state = inclusive_sum(torch.bmm(low, self.mix).float()).add_(state)
            h = low + dropped(F.silu(self.second(normalised(state))), after_second)
            inner = dropped(F.silu(self.inner(h)), after_inner)
            return dropped(torch.baddbmm(direct, inner, self.outer).float().add_(h), at_end)

    def _logits(self, h: Tensor) -> Tensor:
        """Features (columns, rows, units) -> flat logits (rows, tokens of all columns)."""
        weights = self.out_maps.add_to(self.out).split(self.layout.tokens)
        with rounded_products(h.device):
            parts = [x @ w.T for x, w in zip(h, weights, strict=True)]
        return torch.cat(parts, dim=1).float().add_(self.bias)

    @torch.no_grad()
    def tables(self, *, given: bool) -> Tables:
        """What drawing many rows, with cells given or without, makes of the weights once."""
        return Tables(self, tilted=not given)

    @torch.no_grad()
    def draw(
        self,
        z: Tensor,
        noise: Noise,
        given: Rows | None = None,
        view: View | None = None,
        *,
        steps: int | None = None,
        barred: Mapping[int, Sequence[int]] | None = None,
        tables: Tables | None = None,
        proposals: int | None = None,
    ) -> Rows:
        """Draw the cells column by column; running sums make each column cost one small head.

        Cells that `view` calls known are taken from `given`. With `steps` the columns are drawn in that many runs, each
        blind to its own cells: one step is the classic TVAE, as many as columns (the default) the full chain. `barred`
        names, by column, tokens that are not drawn. `tables` is what `tables` gave, made anew where it is None.
        `proposals` of every row with given cells are drawn; None draws as many as `COST` allows, and lets rows that are
        given the same cells stand for each other.
        """
        tables = tables or self.tables(given=given is not None and view is not None)
        widest = max(self.layout.tokens)
        together = rows_at_a_time(widest, z.device) if given is None else rows_of_a_pool(widest)
        codes = [
            draw_from_prior(self, tables, z[part], noise.uniforms[part], steps=steps, barred=barred)
            if given is None or view is None
            else draw_given(
                self, tables, z[part], noise.uniforms[part], given.codes[part], view.rows(part),
                steps=steps, barred=barred, proposals=proposals,
            )
            for part in torch.arange(len(z), device=z.device).split(together)
        ]  # fmt: skip
        return Rows(torch.cat(codes), noise.normals)

    @torch.no_grad()
    def draw_restricted(
        self, column: int, codes: Tensor, known: Tensor, shares: Tensor, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draw one column from its conditional given the known cells, restricted to what is allowed of each code.

        codes, known (rows, columns); shares (codes of the column,), or a row of them for each row, in [0, 1]; uniforms
        (rows, 2) -> codes (rows,) and the probability (rows,) of what is allowed. With nothing known the conditional is
        the column's margin.
        """
        wanted = (shares > 0).view(-1, shares.shape[-1]).any(0)
        inside = self._code_probabilities(column, codes, known, wanted)
        allowed = inside * shares  # (rows, codes of the column)
        drawn = draw_share(allowed, uniforms[:, 0])
        return drawn + self.code_offsets[column], allowed.sum(1) / inside.sum(1)

    def _code_probabilities(self, column: int, codes: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
        """p(code | known cells) of one column's codes (rows, codes of the column), right for the `wanted` (codes,)."""
        rows, offset = len(codes), int(self.code_offsets[column])
        size = self.layout.codes[column]
        if not bool(known.any()):
            return self.margins[offset : offset + size].expand(rows, size)
        z = torch.zeros(rows, self.from_z.in_features, device=codes.device)
        base = self.base(codes, z, View(known, ~known.any(1, keepdim=True), known.float()))
        state, mixed, before = base.clone(), torch.zeros_like(base), self.before()
        for j in range(column):
            mixed.addmm_(F.silu(self.first.one(j, normalised(state + self.position[j]))), self.mix[j])
            # A known cell is seen by the columns after it as in training: as given, and as one before.
            state += F.embedding(codes[:, j], before) * known[:, j : j + 1]
        h = self.head_of(column, state + self.position[column], mixed)
        weights = self.out_maps.add_to(self.out).split(self.layout.tokens)[column]
        logits = torch.addmm(self.bias.split(self.layout.tokens)[column], h, weights.T)
        return self.fine.spread(column, h, torch.softmax(logits, dim=1), wanted)

    def head_of(self, j: int, state: Tensor, mixed: Tensor) -> Tensor:
        """One column's features (rows, units); adds its first layer to `mixed` for the columns after it."""
        low = F.silu(self.first.one(j, normalised(state)))
        mixed.addmm_(low, self.mix[j])
        h = low + F.silu(self.second.one(j, normalised(state + mixed)))
        return torch.addmm(h, F.silu(self.inner.one(j, h)), self.outer[j]).addmm_(state, self.direct[j])

    @torch.no_grad()
    def start_at_margins(self, shares: Tensor) -> None:
        """Remember every code's share of the training rows (codes,), and start the biases at the log of the tokens'."""
        self.margins.copy_(shares)
        self.bias.copy_((self._token_shares() + SMALLEST_SHARE).log())

    @torch.no_grad()
    def calibrate(self, z: Tensor, noise: Noise) -> None:
        """Set the tilt of the biases so that columns drawn from z (n, D) of the prior have the table's margins."""
        margins = self._token_shares().split(self.layout.tokens)
        fit_tilt(self, z, noise.uniforms, margins, rows_at_a_time(max(self.layout.tokens), z.device))

    def _token_shares(self) -> Tensor:
        # On the processor: a GPU adds in no fixed order, and training would not be reproducible.
        tokens, margins = self.before.token_of_code.cpu(), self.margins.cpu()
        return torch.zeros(len(self.bias)).index_add(0, tokens, margins).to(self.bias.device)

    def project(self) -> None:
        """Nothing to keep in range."""


def dropped(x: Tensor, mask: Tensor | None) -> Tensor:
    """x times dropout's mask, or as it is without one; in float32."""
    return x.float() if mask is None else x * mask


def normalised(state: Tensor) -> Tensor:
    """Layer normalisation without weights, then SiLU."""
    return F.silu(F.layer_norm(state, state.shape[-1:]))


class _RunningSum(torch.autograd.Function):
    """Sums over each column and all before it; with a `start`, of that and all columns before each.

    Column by column: on a processor a fifth of the time of `cumsum`, half of a product's with a triangle of ones.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor | None) -> Tensor:
        ctx.exclusive = start is not None
        out = torch.empty_like(x)
        _add_up(x.unbind() if start is None else (start, *x[:-1]), out.unbind())
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        out = torch.empty_like(grad)
        last_first = grad.unbind()[::-1]
        if not ctx.exclusive:
            _add_up(last_first, out.unbind()[::-1])
            return out, None
        _add_up((torch.zeros_like(grad[0]), *last_first[:-1]), out.unbind()[::-1])
        return out, out[0] + grad[0]


def _add_up(terms: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Put the sum of the first terms, one more each time, into `out`."""
    out[0].copy_(terms[0])
    for before, term, after in zip(out, terms[1:], out[1:], strict=False):
        torch.add(before, term, out=after)


def exclusive_sum(x: Tensor, *, start: Tensor) -> Tensor:
    """`start` (rows, width) and all columns before each: (columns, rows, width) -> the same shape."""
    sums: Tensor = _RunningSum.apply(x, start)  # type: ignore[no-untyped-call]
    return sums


def inclusive_sum(x: Tensor) -> Tensor:
    """Sum over each column and all before it: (columns, rows, width) -> the same shape."""
    sums: Tensor = _RunningSum.apply(x, None)  # type: ignore[no-untyped-call]
    return sums
