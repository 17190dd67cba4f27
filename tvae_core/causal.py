"""A decoder whose columns may look at columns already known.

One pass gives every column's softmax given z, the columns before it, and any set of cells given from outside. What a
column sees is a running sum over the cells before it, so time and memory grow linearly with the columns (a neural
autoregressive estimator: Larochelle and Murray 2011; order-agnostic training over given sets: Uria et al. 2014,
arXiv:1310.1757). Cells given from outside are seen by every column: conditional sampling and imputation are ordinary
sampling with some cells known, exact for any set of them.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.embedding import FEATURES, CodeTable, RankMaps, rank_features
from tvae_core.layout import Layout
from tvae_core.likelihood import Noise, View, draw_token
from tvae_core.losses import Segments, segment_cross_entropy
from tvae_core.model import Rows
from tvae_core.randommask import MaskPool

# Share of the training rows in which some cells are given, and share in which later columns see only a prefix.
GIVEN_SHARE, PREFIX_SHARE = 0.5, 0.1
# Up to this many columns a triangular product sums prefixes faster than a cumulative sum, and costs little.
MOST_COLUMNS_FOR_PRODUCT = 64
CALIBRATION_ROUNDS = 4


class CausalDecoder(nn.Module):
    """p(cell | z, cells before it, given cells) for all columns at once.

    width: size H of the running state; units: size U of each column's own layers; a column's head has two layers,
    the second seeing the first ones of the columns before it.
    """

    def __init__(self, layout: Layout, embedding_dim: int, width: int, units: int, *, dropout: float) -> None:
        super().__init__()
        self.layout, self.width, self.dropout = layout, width, dropout
        columns, tokens = len(layout.columns), sum(layout.tokens)
        self.before, self.given = CodeTable(layout, width), CodeTable(layout, width)
        self.given_flag = nn.Parameter(torch.empty(columns, width))
        self.from_z = nn.Linear(embedding_dim, width)
        self.without_z = nn.Parameter(torch.empty(width))
        self.position = nn.Parameter(torch.empty(columns, 1, width))
        self.first = _Heads(columns, width, units)
        self.mix = nn.Parameter(torch.empty(columns, units, width))
        self.second = _Heads(columns, width, units)
        self.inner, self.outer = (
            _Heads(columns, units, units),
            nn.Parameter(torch.empty(columns, units, units)),
        )
        self.out, self.out_maps = (
            nn.Parameter(torch.empty(tokens, units)),
            RankMaps(layout, units, per_token=True),
        )
        self.bias = nn.Parameter(torch.empty(tokens))
        self.fine = FinePlaces(layout, units)
        offsets = torch.from_numpy(layout.code_offsets)
        self.register_buffer("code_offsets", offsets, persistent=False)
        self._segments: Segments | None = None
        self._pool: MaskPool | None = None

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Normal weights, scaled so that sums over columns and units have about unit variance."""
        columns, units = self.mix.shape[0], self.mix.shape[1]
        for table in (self.before, self.given):
            table.initialise(columns**-0.5, generator)
        for zero in (self.given_flag, self.without_z, self.bias):
            nn.init.zeros_(zero)
        nn.init.normal_(self.position, 0.0, 0.3, generator=generator)
        for weight in (self.mix, self.outer):
            nn.init.normal_(weight, 0.0, units**-0.5, generator=generator)
        for weight in (self.out, self.out_maps.maps):
            nn.init.normal_(weight, 0.0, 0.3 * units**-0.5, generator=generator)

    def segments(self, device: torch.device) -> Segments:
        """The layout's segments on `device`, made once."""
        if self._segments is None or self._segments.offsets.device != device:
            self._segments = Segments(self.layout, device)
        return self._segments

    def views(self, rows: int, generator: torch.Generator) -> View:
        """What each row of a training batch may look at: z and all before, a given set, or only a prefix.

        In half of the rows a random set of random size is given and z is hidden, so that the given cells must tell
        what z would; in a tenth a column sees only the cells before a random place.
        """
        columns, device = len(self.layout.columns), generator.device
        kind = torch.rand(rows, 2, generator=generator, device=device)
        given, cut = kind[:, :1] < GIVEN_SHARE, kind[:, 1:] < PREFIX_SHARE
        count = torch.randint(1, max(2, columns), (rows, 1), generator=generator, device=device)
        order = torch.rand(rows, columns, generator=generator, device=device).argsort(1)
        known = (order < count) & given & (columns > 1)
        place = torch.randint(0, columns, (rows, 1), generator=generator, device=device)
        prefix = ~cut | (torch.arange(columns, device=device) < place)
        return View(known, ~known.any(1, keepdim=True), prefix.float())

    def nll(self, rows: Rows, z: Tensor, view: View | None, generator: torch.Generator | None) -> Tensor:
        """-log p(row | z) in nats of the cells that are not known -> (rows,); a generator turns dropout on."""
        drop = self._dropout(generator)
        base = self._base(rows.codes, z, view)
        seen = F.embedding(rows.codes.T, self.before())  # (columns, rows, width)
        if view is not None:
            seen = seen * view.prefix.T[:, :, None]
        h = drop(self._heads(exclusive_sum(seen) + base + self.position, drop))
        tokens = self.before.token_of_code[rows.codes]
        loss = segment_cross_entropy(self._logits(h), tokens, self.segments(z.device))
        loss = self.fine.add_nll(loss, h, rows.codes, tokens)
        return loss.sum(1) if view is None else (loss * ~view.known).sum(1)

    def _dropout(self, generator: torch.Generator | None) -> "MaskPool":
        if generator is None or not self.dropout:
            return MaskPool(0.0, None)
        if self._pool is None or self._pool.generator is not generator:
            self._pool = MaskPool(self.dropout, generator)
        return self._pool

    def _base(self, codes: Tensor, z: Tensor, view: View | None) -> Tensor:
        """What every column of a row sees: z or its absence, and the given cells (rows, width)."""
        base: Tensor = self.from_z(z)
        if view is None:
            return base
        base = torch.where(view.z_seen, base, self.without_z)
        rows = view.known.any(1).nonzero()[:, 0]
        if not len(rows):
            return base
        known = view.known[rows].to(base.dtype)
        given = F.embedding_bag(codes[rows], self.given(), mode="sum", per_sample_weights=known)
        return base.index_add(0, rows, given + known @ self.given_flag)

    def _heads(self, state: Tensor, drop: "MaskPool") -> Tensor:
        """Running states (columns, rows, width) -> each column's features (columns, rows, units)."""
        low = drop(F.silu(self.first(normalised(state))))
        state = state + inclusive_sum(torch.bmm(low, self.mix))
        h = low + drop(F.silu(self.second(normalised(state))))
        return h + torch.bmm(drop(F.silu(self.inner(h))), self.outer)

    def _logits(self, h: Tensor) -> Tensor:
        """Features (columns, rows, units) -> flat logits (rows, tokens of all columns)."""
        weights = self.out_maps.add_to(self.out).split(self.layout.tokens)
        biases = self.bias.split(self.layout.tokens)
        parts = [torch.addmm(b, x, w.T) for b, x, w in zip(biases, h, weights, strict=True)]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def draw(
        self,
        z: Tensor,
        noise: Noise,
        given: Rows | None = None,
        view: View | None = None,
        margins: list[Tensor] | None = None,
    ) -> Rows:
        """Draw the cells column by column; running sums make each column cost one small head.

        Cells that `view` calls known are taken from `given`. With `margins`, each column's token shares, the biases
        are tilted on the way so that the shares of what is drawn become those.
        """
        tables = Tables(self)
        base = self._base(given.codes, z, view) if given is not None else self._base(noise.uniforms, z, None)
        state, mixed = base.clone(), torch.zeros_like(base)
        codes = torch.empty(len(z), len(self.layout.columns), dtype=torch.int64, device=z.device)
        for j, weights in enumerate(tables.out):
            h = self._head_of(j, state + self.position[j], mixed)
            logits = torch.addmm(tables.bias[j], h, weights.T)
            if margins is not None:
                logits = tilt(logits, tables.bias[j], margins[j])
            token = draw_token(logits, noise.uniforms[:, j, 0])
            code = self.fine.draw(j, h, token, noise.uniforms[:, j, 1], tables.fine)
            if given is not None and view is not None:
                code = torch.where(view.known[:, j], given.codes[:, j], code)
            codes[:, j] = code
            state += F.embedding(code, tables.before)
        return Rows(codes, noise.normals)

    def _head_of(self, j: int, state: Tensor, mixed: Tensor) -> Tensor:
        """One column's features (rows, units); adds its first layer to `mixed` for the columns after it."""
        low = F.silu(self.first.one(j, normalised(state)))
        mixed.addmm_(low, self.mix[j])
        h = low + F.silu(self.second.one(j, normalised(state + mixed)))
        return h + F.silu(self.inner.one(j, h)) @ self.outer[j]

    @torch.no_grad()
    def start_at_margins(self, codes: Tensor) -> None:
        """Start every bias at the log of its token's share of the training rows."""
        counts = torch.bincount(self.before.token_of_code[codes].flatten(), minlength=len(self.bias)) + 0.5
        for bias, part in zip(
            self.bias.split(self.layout.tokens), counts.split(self.layout.tokens), strict=True
        ):
            bias.copy_((part / part.sum()).log())

    @torch.no_grad()
    def calibrate(self, codes: Tensor, z: Tensor, noise: Noise) -> None:
        """Tilt the output biases so that columns drawn from z (n, D) of the prior have the margins of `codes`."""
        tokens = self.before.token_of_code[codes].flatten()
        shares = torch.bincount(tokens, minlength=len(self.bias)).float() / len(codes)
        self.draw(z, noise, margins=list(shares.split(self.layout.tokens)))

    def project(self) -> None:
        """Nothing to keep in range."""


class Tables:
    """Matrices that are functions of the weights, built once per drawing of many rows."""

    def __init__(self, decoder: CausalDecoder) -> None:
        sizes = decoder.layout.tokens
        self.before = decoder.before()
        self.out = decoder.out_maps.add_to(decoder.out).split(sizes)
        self.bias = decoder.bias.split(sizes)
        self.fine = decoder.fine.token()


class _Heads(nn.Module):
    """One linear layer per column: (columns, rows, size in) -> (columns, rows, size out)."""

    def __init__(self, columns: int, size_in: int, size_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(columns, size_in, size_out))
        self.bias = nn.Parameter(torch.empty(columns, 1, size_out))

    def forward(self, x: Tensor) -> Tensor:
        """All columns at once."""
        return torch.baddbmm(self.bias, x, self.weight)

    def one(self, column: int, x: Tensor) -> Tensor:
        """One column: (rows, size in) -> (rows, size out)."""
        return torch.addmm(self.bias[column], x, self.weight[column])

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Normal weights of unit gain, zero biases."""
        nn.init.normal_(self.weight, 0.0, self.weight.shape[1] ** -0.5, generator=generator)
        nn.init.zeros_(self.bias)


class FinePlaces(nn.Module):
    """The place inside a token of several codes, given the column's features and the token."""

    def __init__(self, layout: Layout, units: int) -> None:
        super().__init__()
        self.columns = [j for j, c in enumerate(layout.columns) if c.fine_places > 1]
        self.place = {j: i for i, j in enumerate(self.columns)}
        count, places = len(self.columns), max((c.fine_places for c in layout.columns), default=1)
        self.token = CodeTable(layout, units)
        self.hidden = _Heads(count, units, units)
        self.out = nn.Parameter(torch.empty(count, units, places))
        self.maps = nn.Parameter(torch.empty(count, FEATURES, units))
        self.bias = nn.Parameter(torch.empty(count, 1, places))
        middles = (torch.arange(places) + 0.5) / places
        self.register_buffer("features", rank_features(middles.numpy()), persistent=False)
        self._register_codes(layout)

    def _register_codes(self, layout: Layout) -> None:
        fine = np.concatenate([c.fine_of_code for c in layout.columns])
        tokens = np.concatenate(
            [c.token_of_code + o for c, o in zip(layout.columns, layout.token_offsets, strict=True)]
        )
        first = np.unique(tokens, return_index=True)[1]
        counts = np.bincount(tokens)
        for name, value in (("fine_of_code", fine), ("first_code", first), ("codes_of_token", counts)):
            self.register_buffer(name, torch.from_numpy(value.astype(np.int64)), persistent=False)
        self.register_buffer("token_offsets", torch.from_numpy(layout.token_offsets), persistent=False)

    fine_of_code: Tensor
    first_code: Tensor
    codes_of_token: Tensor
    token_offsets: Tensor
    features: Tensor

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Start from even places: zero output weights."""
        self.token.initialise(0.3, generator)
        for zero in (self.out, self.maps, self.bias):
            nn.init.zeros_(zero)

    def _logits(self, h: Tensor, token: Tensor, which: slice, table: Tensor) -> Tensor:
        """Features (columns, rows, units) and tokens (columns, rows) -> (columns, rows, places).

        The token is embedded by its first code, never by the code itself: that would give the place away.
        """
        h = (
            h
            + self.hidden.bias[which]
            + torch.bmm(F.silu(h + F.embedding(self.first_code[token], table)), self.hidden.weight[which])
        )
        weights = self.out[which] + (self.features @ self.maps[which]).transpose(1, 2)
        logits = torch.bmm(F.silu(h), weights) + self.bias[which]
        absent = torch.arange(logits.shape[2], device=h.device) >= self.codes_of_token[token][:, :, None]
        return logits.masked_fill(absent, -1e9)

    def add_nll(self, loss: Tensor, h: Tensor, codes: Tensor, tokens: Tensor) -> Tensor:
        """Add the fine places' cross-entropy to loss (rows, columns)."""
        if not self.columns:
            return loss
        token = tokens[:, self.columns].T
        logits = self._logits(h[self.columns], token, slice(None), self.token())
        target = self.fine_of_code[codes[:, self.columns].T]
        nll = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
        return loss.index_add(1, torch.tensor(self.columns, device=loss.device), nll.T)

    def draw(self, column: int, h: Tensor, token: Tensor, uniforms: Tensor, table: Tensor) -> Tensor:
        """Codes (rows,), numbered through all columns, for one column's drawn tokens (rows,)."""
        token = token + self.token_offsets[column]
        code = self.first_code[token]
        if column not in self.place:
            return code
        rows = (self.codes_of_token[token] > 1).nonzero()[:, 0]
        if len(rows):
            i = self.place[column]
            logits = self._logits(h[rows][None], token[rows][None], slice(i, i + 1), table)[0]
            code[rows] += draw_token(logits, uniforms[rows])
        return code


def normalised(state: Tensor) -> Tensor:
    """Layer normalisation without weights, then SiLU."""
    return F.silu(F.layer_norm(state, state.shape[-1:]))


def exclusive_sum(x: Tensor) -> Tensor:
    """Sum over all columns before each: (columns, rows, width) -> the same shape."""
    return _prefix_sum(x, diagonal=-1)


def inclusive_sum(x: Tensor) -> Tensor:
    """Sum over each column and all before it: (columns, rows, width) -> the same shape."""
    return _prefix_sum(x, diagonal=0)


def _prefix_sum(x: Tensor, *, diagonal: int) -> Tensor:
    columns = len(x)
    if columns > MOST_COLUMNS_FOR_PRODUCT:
        total = x.cumsum(0)
        return total if diagonal == 0 else total - x
    triangle = torch.ones(columns, columns, device=x.device, dtype=x.dtype).tril_(diagonal)
    return (triangle @ x.flatten(1)).view(x.shape)


def tilt(logits: Tensor, bias: Tensor, margin: Tensor) -> Tensor:
    """Add to `bias` (tokens,), in place, what gives the softmax of logits (rows, tokens) the mean `margin`."""
    rows = len(logits)
    total = torch.zeros_like(bias)
    for _ in range(CALIBRATION_ROUNDS):
        mean = torch.softmax(logits + total, dim=1).mean(0)
        total += ((margin * rows + 1) / (mean * rows + 1)).log()
    bias += total
    return logits + total
