"""Networks and losses against dense arithmetic and numbers computed by hand."""

import math

import pytest
import torch

from tvae_core import Decoder, Encoder
from tvae_core.layout import ColumnLayout, Layout
from tvae_core.likelihood import draw_token
from tvae_core.losses import Segments, kl_divergence, reconstruction_loss, segment_cross_entropy, tvae_loss
from tvae_core.model import InputLayer, Rows, initialise
from tvae_core.randomness import torch_generator


def layout_of(*tokens, scalars=0):
    return Layout(
        tuple(ColumnLayout.plain(k, scalars=scalars if i == 0 else 0) for i, k in enumerate(tokens))
    )


LAYOUT = layout_of(3, 5, 1, 4, scalars=2)
SPANS = list(zip((LAYOUT.token_offsets + 2).tolist(), LAYOUT.tokens, strict=True))


def some_rows(layout=LAYOUT, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(0, k, (count,), generator=generator) for k in layout.codes], 1)
    scalars = torch.rand(count, layout.scalars, generator=generator) * 2 - 1
    return Rows(codes + torch.from_numpy(layout.code_offsets), scalars)


def test_looking_tokens_up_equals_multiplying_by_the_one_hot_matrix():
    layer = InputLayer(LAYOUT.data_dim, 8)
    initialise(layer, torch_generator(1, "test"))
    rows = some_rows()
    dense = rows.dense(LAYOUT.data_dim)
    assert dense[:, 2:].sum(1).tolist() == [4.0] * 6
    torch.testing.assert_close(layer(rows), layer(dense))


def test_encoder_gives_mu_std_and_logvar_that_agree():
    mu, std, logvar = Encoder(LAYOUT.data_dim, (16, 8), 3)(some_rows().dense(LAYOUT.data_dim))
    assert mu.shape == std.shape == logvar.shape == (6, 3)
    torch.testing.assert_close(std, (0.5 * logvar).exp())


def test_decoder_gives_a_flat_reconstruction_and_sigma_in_its_range():
    decoder = Decoder(3, (8, 16), LAYOUT.data_dim)
    with torch.no_grad():
        decoder.sigma[0], decoder.sigma[1] = 5.0, 1e-6
    flat, sigma = decoder(torch.zeros(4, 3))
    assert flat.shape == (4, LAYOUT.data_dim)
    assert sigma[:2].tolist() == pytest.approx([1.0, 0.01])


def test_cross_entropy_over_segments_equals_torch_one_column_at_a_time():
    flat = torch.randn(6, LAYOUT.data_dim, requires_grad=True)
    rows = some_rows()
    ours = segment_cross_entropy(flat, rows.codes + 2, Segments(LAYOUT))
    slow = torch.stack(
        [
            torch.nn.functional.cross_entropy(
                flat[:, start : start + width], rows.codes[:, place] + 2 - start, reduction="none"
            )
            for place, (start, width) in enumerate(SPANS)
        ],
        dim=1,
    )
    torch.testing.assert_close(ours, slow)
    weights = torch.arange(24.0).view(6, 4)
    (ours_grad,) = torch.autograd.grad((ours * weights).sum(), flat, retain_graph=True)
    (slow_grad,) = torch.autograd.grad((slow * weights).sum(), flat)
    torch.testing.assert_close(ours_grad, slow_grad)


def test_segments_in_several_groups_give_the_same_sums():
    layout = layout_of(1500, 900, 4, 2000)
    flat = torch.randn(3, layout.data_dim)
    targets = torch.from_numpy(layout.token_offsets).expand(3, -1)
    spans = zip(layout.token_offsets.tolist(), layout.tokens, strict=True)
    parts = [torch.logsumexp(flat[:, s : s + k], 1) - flat[:, s] for s, k in spans]
    segments = Segments(layout)
    assert len(segments.groups) == 3
    torch.testing.assert_close(segment_cross_entropy(flat, targets, segments), torch.stack(parts, 1))


def test_huge_logits_stay_finite():
    flat = torch.full((1, LAYOUT.data_dim), 1e4)
    flat[0, 2] = -1e4
    loss = segment_cross_entropy(flat, torch.from_numpy(LAYOUT.token_offsets)[None] + 2, Segments(LAYOUT))
    assert torch.isfinite(loss).all()


def test_reconstruction_and_kl_by_hand():
    # One scalar of 0.5 predicted as tanh(0) = 0 with sigma 0.5, and one token with probabilities 3/4, 1/4.
    layout = layout_of(2, scalars=1)
    rows = Rows(torch.tensor([[0]]), torch.tensor([[0.5]]))
    flat = torch.tensor([[0.0, math.log(3.0), 0.0]])
    sigma = torch.full((3,), 0.5)
    by_hand = 0.25 / 0.5 + math.log(0.5) + math.log(4 / 3)
    assert reconstruction_loss(flat, sigma, rows, Segments(layout)).item() == pytest.approx(by_hand)
    # KL(N(1, 4) || N(0, 1)) = (1 + 4 - 1 - ln 4) / 2
    kl = kl_divergence(torch.tensor([[1.0]]), torch.tensor([[math.log(4.0)]]))
    assert kl.item() == pytest.approx((4 - math.log(4)) / 2)
    parts = tvae_loss(torch.tensor([by_hand]), kl.sum(1), loss_factor=2.0)
    assert parts.total.item() == pytest.approx(2 * by_hand + (4 - math.log(4)) / 2)
    free = tvae_loss(torch.tensor([by_hand]), kl.sum(1), loss_factor=2.0, free_bits=5.0)
    assert free.total.item() == pytest.approx(2 * by_hand)


def test_drawing_a_token_inverts_the_cumulative_softmax():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]])).expand(6, 4)
    draws = torch.tensor([0.0, 0.05, 0.15, 0.35, 0.61, 0.9999999])
    assert draw_token(logits, draws).tolist() == [0, 0, 1, 2, 3, 3]


def test_a_level_without_probability_is_never_drawn():
    logits = torch.tensor([[-1e9, 0.0, -1e9]]).expand(3, 3)
    assert draw_token(logits, torch.tensor([0.0, 0.5, 0.999999])).tolist() == [1, 1, 1]
