"""The pretend device itself: it refuses what CUDA refuses, allows what CUDA allows, and computes what the CPU does."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.checks.pretend_rules import DeviceError, GeneratorError, HostError

pytestmark = [pytest.mark.matrix, pytest.mark.selection]

REFUSED: dict[str, Callable[[Tensor], object]] = {
    "a sum with a vector of the CPU": lambda x: x + torch.ones(3),
    "a product with a matrix of the CPU": lambda x: x @ torch.ones(3, 3),
    "a mask of the CPU": lambda x: x.masked_fill(torch.ones(3, dtype=torch.bool), 0.0),
    "a choice by a mask of the CPU": lambda x: torch.where(torch.ones(3, dtype=torch.bool), x, 0.0),
    "an index of the CPU in index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "a number of the CPU in a stack": lambda x: torch.stack([x[0], torch.tensor(1.0)]),
    "an addition to a number of the CPU": lambda x: torch.zeros(()).add_(x.sum()),
    "a value of the CPU that is put by index": lambda x: x.index_put_((torch.tensor([0, 1]),), torch.ones(2)),
    "an index on the device into the CPU": lambda x: torch.ones(3)[x.long()],
    "a comparison with the CPU": lambda x: torch.equal(x, torch.ones(3)),
}
ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "a number of the CPU": lambda x: x * torch.tensor(2.0),
    "an index of the CPU": lambda x: x[torch.tensor([0, 2])],
    "a mask of the CPU as an index": lambda x: x[torch.tensor([True, False, True])],
    "an assignment by a mask of the CPU": lambda x: x.index_put((torch.tensor([True, False, True]),), x[0]),
    "a copy from the CPU": lambda x: x.clone().copy_(torch.arange(3.0)),
    "a move to the device of another": lambda x: x + torch.ones(3).to(x),
    "factories on the device": lambda x: torch.arange(3, device=x.device) + x @ torch.eye(3, device=x.device),
    "a random order": lambda x: x[torch.randperm(3, device=x.device)],
    "a random draw": lambda x: x + torch.rand(3, device=x.device) + torch.randn_like(x),
    "an assignment to a part": lambda x: torch.cat([x, x]).view(2, 3).T.contiguous().T,
    "a shape that changes in place": lambda x: x.clone().unsqueeze_(0).mul_(2).squeeze_(0).t_(),
    "dropout": lambda x: F.dropout(x, 0.5),
    "a result in a given tensor": lambda x: torch.mul(x, x, out=torch.empty_like(x)),
}


@pytest.fixture
def vector(device: torch.device) -> Tensor:
    return torch.tensor([1.0, 2.0, 3.0], device=device)


@pytest.mark.parametrize("act", REFUSED.values(), ids=REFUSED)
def test_the_device_refuses_what_cuda_refuses(act: Callable[[Tensor], object], vector: Tensor) -> None:
    with pytest.raises(DeviceError, match=r"at least two devices, pretend:0 and cpu! \(argument"):
        act(vector)


@pytest.mark.parametrize("act", ALLOWED.values(), ids=ALLOWED)
def test_the_device_allows_what_cuda_allows_and_gives_the_cpus_numbers(
    act: Callable[[Tensor], Tensor], vector: Tensor
) -> None:
    torch.manual_seed(0)
    there = act(vector)
    torch.manual_seed(0)
    here = act(vector.cpu())

    assert there.device == vector.device
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize(
    "act",
    [
        lambda x, generator: torch.rand(3, generator=generator, device=x.device),
        lambda x, generator: x.bernoulli_(0.5, generator=generator),
        lambda x, generator: torch.randperm(3, generator=generator, device=x.device),
        lambda x, generator: torch.multinomial(x, 2, generator=generator),
    ],
)
def test_a_generator_of_the_cpu_is_refused_and_one_of_the_device_draws_the_cpus_numbers(
    act: Callable[[Tensor, torch.Generator], Tensor], vector: Tensor
) -> None:
    with pytest.raises(GeneratorError, match="Expected a 'pretend' device type for generator but found 'cpu'"):
        act(vector, torch.Generator())

    there = act(vector, torch.Generator(vector.device).manual_seed(1))
    assert torch.equal(there.cpu(), act(torch.tensor([1.0, 2.0, 3.0]), torch.Generator().manual_seed(1)))


def test_numpy_is_refused_and_numbers_may_be_read(vector: Tensor) -> None:
    for act in (lambda x: x.numpy(), np.asarray, np.array):
        with pytest.raises(HostError, match="can't convert pretend:0 device type tensor to numpy"):
            act(vector)

    assert vector.tolist() == [1.0, 2.0, 3.0]
    assert (vector[0].item(), float(vector[1]), bool(vector.all()), f"{vector[2]:.1f}") == (1.0, 2.0, True, "3.0")
    assert repr(vector) == "PretendTensor([1., 2., 3.], device='pretend:0')"
    assert vector.cpu().numpy().sum() == vector.numpy(force=True).sum() == 6.0


def test_a_module_that_moves_keeps_its_parameters_and_learns_the_cpus_bits(device: torch.device) -> None:
    torch.manual_seed(0)
    here = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Dropout(0.3), nn.LayerNorm(4))
    there = copy.deepcopy(here)
    before = list(there.parameters())
    there.to(device)

    for module in (here, there):
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW(module.parameters(), fused=True)
        for _ in range(3):
            module(torch.ones(2, 3, device=next(module.parameters()).device)).square().sum().backward()
            optimizer.step()

    assert all(
        old is new and isinstance(new, nn.Parameter) for old, new in zip(before, there.parameters(), strict=True)
    )
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        assert other.device == device
        assert torch.equal(one, other.cpu())


@pytest.mark.parametrize(("is_causal", "masked"), [(False, False), (True, False), (False, True)])
def test_attention_has_the_cpus_bits_and_gradients(device: torch.device, is_causal: bool, masked: bool) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 2, 5, 8) for _ in range(3)]
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    found = []
    for place in (torch.device("cpu"), device):
        leaves = [part.clone().to(place).requires_grad_() for part in parts]
        query, key, value = leaves
        there = None if mask is None else mask.to(place)
        output = F.scaled_dot_product_attention(query, key, value, attn_mask=there, is_causal=is_causal)
        output.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([output.detach().cpu(), *(leaf.grad.cpu() for leaf in leaves if leaf.grad is not None)])

    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_tensor_comes_back_to_the_device_from_a_file(vector: Tensor) -> None:
    file = io.BytesIO()
    torch.save({"weight": nn.Parameter(vector)}, file)
    file.seek(0)

    (back,) = torch.load(file, map_location=lambda storage, location: storage, weights_only=True).values()

    assert back.device == vector.device
    assert torch.equal(back, vector)
    assert back.requires_grad


def test_data_goes_to_the_device_and_back_in_place(vector: Tensor) -> None:
    parameter = nn.Parameter(torch.zeros(3), requires_grad=False)
    known = parameter

    parameter.data = vector
    assert (known.device, known.sum().item()) == (vector.device, 6.0)
    parameter.data = torch.ones(2)
    assert known is parameter
    assert (known.device.type, known.shape, known.requires_grad) == ("cpu", (2,), False)
