"""The optimiser: torch's own update, without what torch's own optimisers load."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from tvae_core.adam import Adam, Group


def parameters(seed: int = 0) -> list[nn.Parameter]:
    g = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=g)) for shape in ((3, 4), (4,), (2,))]


def give_gradients(generator: torch.Generator, *all_parameters: list[nn.Parameter]) -> None:
    """The same random gradients for each list; the last parameter of each gets none."""
    for same in list(zip(*all_parameters, strict=True))[:-1]:
        gradient = torch.randn(same[0].shape, generator=generator)
        for parameter in same:
            parameter.grad = gradient.clone()


@pytest.mark.parametrize(("decoupled", "theirs"), [(False, torch.optim.Adam), (True, torch.optim.AdamW)])
def test_weights_move_as_with_torchs_optimisers_to_the_last_bit(decoupled, theirs):
    own, other = parameters(), parameters()
    adam = Adam([Group(own[:1], 0.3), Group(own[1:])], betas=(0.8, 0.95), decoupled=decoupled)
    expected = theirs(
        [{"params": other[:1], "weight_decay": 0.3}, {"params": other[1:], "weight_decay": 0.0}],
        betas=(0.8, 0.95),
        fused=True,
    )
    g = torch.Generator().manual_seed(1)
    for rate in (0.1, 0.02, 0.5):
        give_gradients(g, own, other)
        adam.step(rate)
        for group in expected.param_groups:
            group["lr"] = rate
        expected.step()
    assert all(torch.equal(a, b) for a, b in zip(own, other, strict=True))
    assert torch.equal(own[2], parameters()[2])
    assert not torch.equal(own[0], parameters()[0])


def test_a_state_taken_over_goes_on_as_if_nothing_had_been():
    first = parameters()
    adam = Adam([Group(first)])
    give_gradients(torch.Generator().manual_seed(1), first)
    adam.step(0.1)
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = Adam([Group(second)])
    state = dict(enumerate(adam.state.values()))
    assert resumed.fits(state)
    resumed.load(state)
    give_gradients(torch.Generator().manual_seed(2), first, second)
    adam.step(0.1)
    resumed.step(0.1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_state_of_other_parameters_does_not_fit():
    adam = Adam([Group(parameters())])
    state = dict(enumerate(adam.state.values()))
    fewer = {number: state[number] for number in (0, 1)}
    wider = {**state, 1: {**state[1], "exp_avg": torch.zeros(5)}}
    nameless = {**state, 1: {}}
    assert not any(adam.fits(other) for other in ({}, fewer, wider, nameless))


def test_torchs_compiler_is_not_loaded():
    code = (
        "import sys, torch; from tvae_core.adam import Adam, Group; p = torch.nn.Parameter(torch.ones(2)); "
        "p.grad = torch.ones(2); Adam([Group([p])]).step(0.1); print('torch._dynamo' in sys.modules, p[0].item())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, value = done.stdout.split()
    assert loaded == "False"
    assert float(value) == pytest.approx(0.9)
