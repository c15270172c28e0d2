"""Gradients that stay mapped: right whatever is done with them, and never written into while someone holds them."""

from __future__ import annotations

import copy
import ctypes
import gc
import io
import mmap
import pickle
import resource
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from marginflow.nets import autograd
from marginflow.nets import memory as kept
from marginflow.nets.masked import linear as layers
from marginflow.nets.memory import KEPT, LEAST, Memory
from marginflow.transforms import MaskedAutoregressive

SHAPE = (256, 256)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is kept for small layers, of several bands, too."""
    monkeypatch.setattr(kept, "LEAST", 1)
    monkeypatch.setattr(layers, "WEIGHTS_A_CALL", 30)


def made_of(activation: str = "tanh", seed: int = 0, context_features: int = 0) -> MaskedAutoregressive:
    torch.default_generator.manual_seed(seed)
    return MaskedAutoregressive(5, [19, 17], activation=activation, context_features=context_features)


def rows(seed: int = 0) -> Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))


def backward(made: nn.Module, x: Tensor) -> None:
    z, log_det = made(x)
    (z.pow(3).sum(1) + log_det.square()).sum().backward()


def grads(made: nn.Module) -> list[Tensor]:
    return [each.grad.clone() for each in made.parameters() if each.grad is not None]


def addresses(made: MaskedAutoregressive) -> list[int]:
    """Where the gradients of the weights stand."""
    return [w.grad.data_ptr() for layer in made.network.layers for w in layer.weights if w.grad is not None]


def expected(made: nn.Module, *xs: Tensor) -> list[Tensor]:
    """The sum of the gradients, by autograd alone."""
    other = copy.deepcopy(made)
    other.zero_grad()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autograd, "left_to_autograd", lambda: True)
        for x in xs:
            backward(other, x)
    return grads(other)


def close(found: list[Tensor], others: list[Tensor]) -> None:
    assert len(found) == len(others) > 0
    torch.testing.assert_close(found, others, rtol=1e-12, atol=1e-12)


def blocks(made: MaskedAutoregressive) -> list[int]:
    return [len(memory._blocks) for layer in made.network.layers for memory in layer.gradients]


def test_a_block_is_lent_again_when_no_tensor_stands_on_it() -> None:
    memory, like = Memory(), torch.empty(1)
    first = memory.empty(SHAPE, like)
    assert first is not None
    assert first.shape == SHAPE
    assert first.dtype == like.dtype
    address = first.data_ptr()
    first = None
    for _ in range(5):
        again = memory.empty(SHAPE, like)
        assert again is not None
        assert again.data_ptr() == address
        del again
    assert len(memory._blocks) == 1


@pytest.mark.parametrize(
    "hold",
    [
        lambda grad: grad,
        lambda grad: grad[3:5, 7],
        lambda grad: grad.T,
        lambda grad: grad.detach(),
        lambda grad: grad.view(-1),
        lambda grad: grad.numpy(),
        lambda grad: grad.numpy()[2:, 1],
        lambda grad: np.from_dlpack(grad),
        lambda grad: memoryview(grad.numpy()),
        lambda grad: grad.untyped_storage(),
        lambda grad: nn.Parameter(grad),
    ],
    ids=["itself", "slice", "turned", "detached", "flat", "array", "part", "dlpack", "buffer", "storage", "parameter"],
)
def test_what_someone_holds_is_never_lent(hold: Callable[[Tensor], object]) -> None:
    memory, like = Memory(), torch.empty(1)
    grad = memory.empty(SHAPE, like)
    assert grad is not None
    address, held = grad.data_ptr(), hold(grad)
    del grad
    gc.collect()
    other = memory.empty(SHAPE, like)
    assert other is not None
    assert other.data_ptr() != address
    assert memory.empty(SHAPE, like) is None  # both are lent: any other memory is as good
    del held
    again = memory.empty(SHAPE, like)
    assert again is not None
    assert again.data_ptr() == address


def test_small_ones_and_those_numpy_does_not_know_are_left_alone() -> None:
    memory = Memory()
    assert SHAPE[0] * SHAPE[1] == LEAST
    assert memory.empty((LEAST - 1, 1), torch.empty(1)) is None
    for like in (
        torch.empty(1, dtype=torch.bfloat16),
        torch.empty(1, device="meta"),
        torch.empty(1, dtype=torch.complex64),
    ):
        assert memory.empty(SHAPE, like) is None
    with torch.device("meta"):
        grad = memory.empty(SHAPE, torch.empty(1, device="cpu"))
    assert grad is not None
    assert grad.device.type == "cpu"


def test_another_shape_or_precision_drops_what_was_kept() -> None:
    memory = Memory()
    for shape, dtype in ((SHAPE, torch.float32), ((512, 128), torch.float32), ((512, 128), torch.float64)):
        grad = memory.empty(shape, torch.empty(1, dtype=dtype))
        assert grad is not None
        assert (*grad.shape, grad.dtype) == (*shape, dtype)
        del grad
        assert len(memory._blocks) == 1


def test_copies_are_empty() -> None:
    memory = Memory()
    memory.empty(SHAPE, torch.empty(1))
    for other in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert isinstance(other, Memory)
        assert other._blocks == []
    memory.release()
    assert memory._blocks == []


def test_threads_never_get_the_same_block() -> None:
    memory, like, wrong = Memory(), torch.empty(1), []

    def work(number: int) -> None:
        for _ in range(300):
            grad = memory.empty(SHAPE, like)
            if grad is not None:
                grad[0, 0] = number
                wrong.append(float(grad[0, 0]) != number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) > 0
    assert not any(wrong)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_gradients_stand_where_they_stood_and_are_right(activation: str, small: None) -> None:
    made, seen = made_of(activation), []
    optimiser = torch.optim.SGD(made.parameters(), lr=1e-2)
    for step in range(4):
        optimiser.zero_grad(set_to_none=True)
        x = rows(step)
        backward(made, x)
        close(grads(made), expected(made, x))
        seen.append(addresses(made))
        optimiser.step()
    assert len(seen[0]) > 3
    assert seen[1:] == seen[:-1]
    assert set(blocks(made)) == {1}


def test_gradients_that_are_held_stay(small: None) -> None:
    """Kept from p.grad, from autograd.grad, as arrays and as views."""
    made = made_of()
    weights = [weight for layer in made.network.layers for weight in layer.weights]
    held: list[tuple[Tensor, Tensor]] = []
    for step in range(5):
        made.zero_grad(set_to_none=True)
        backward(made, rows(step))
        taken = [weight.grad for weight in weights if weight.grad is not None]
        views = [torch.from_numpy(grad.numpy()[:, :1]) if step % 2 else grad[1:] for grad in taken]
        by_grad = torch.autograd.grad(made(rows(step + 10))[0].square().sum(), weights)
        new = [*(taken if step < 2 else []), *views, *by_grad]
        held += [(each, each.clone()) for each in new]
    assert all(torch.equal(now, then) for now, then in held)
    assert set(blocks(made)) == {KEPT}


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_add_up(to_none: bool, small: None) -> None:
    made = made_of()
    for step in range(3):
        made.zero_grad(set_to_none=to_none)
        xs = [rows(10 * step + i) for i in range(3)]
        for x in xs:
            backward(made, x)
        close(grads(made), expected(made, *xs))
    if not to_none:
        before = addresses(made)
        made.zero_grad(set_to_none=False)
        backward(made, rows())
        assert addresses(made) == before
    assert max(blocks(made)) <= KEPT


def test_one_graph_backwards_twice(small: None) -> None:
    made, x = made_of(), rows()
    value = made(x)[0].pow(3).sum()
    value.backward(retain_graph=True)
    once = grads(made)
    value.backward()
    close(grads(made), [2 * each for each in once])


def test_a_gradient_of_gradients_between_steps(small: None) -> None:
    found = []
    for by_autograd in (False, True):
        made = made_of()
        with pytest.MonkeyPatch.context() as patch:
            if by_autograd:
                patch.setattr(autograd, "left_to_autograd", lambda: True)
            for step in range(3):
                made.zero_grad()
                x = rows(step).requires_grad_()
                (grad,) = torch.autograd.grad(made(x)[0].pow(3).sum(), x, create_graph=True)
                backward(made, x.detach())
                grad.square().sum().backward()
        found.append(grads(made))
    close(*found)


def test_a_layer_that_is_passed_twice_adds_up(small: None) -> None:
    made, x = made_of(), rows()

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = made

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z, first = self.made(x)
            z, second = self.made(z)
            return z, first + second

    twice = Twice()
    for _ in range(3):
        twice.zero_grad()
        backward(twice, x)
        close(grads(twice), expected(twice, x))


def test_copies_of_models_and_optimisers_share_no_gradient(small: None) -> None:
    made = made_of()
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    backward(made, rows())
    optimiser.step()
    other, state = copy.deepcopy((made, optimiser.state_dict()))
    again = torch.optim.Adam(other.parameters(), lr=1e-2)
    again.load_state_dict(state)
    for step in range(2):
        for each, steps in ((made, optimiser), (other, again)):
            each.zero_grad()
            backward(each, rows(step))
            steps.step()
        assert not set(addresses(made)) & set(addresses(other))
    close([*made.parameters()], [*other.parameters()])


def test_several_models_keep_their_own(small: None) -> None:
    one, two = made_of(seed=1), made_of(seed=2)
    for step in range(3):
        for made in (one, two):
            made.zero_grad()
            backward(made, rows(step))
        close(grads(one), expected(one, rows(step)))
        close(grads(two), expected(two, rows(step)))


def test_a_pickled_model_trains(small: None) -> None:
    made = made_of()
    backward(made, rows())
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert set(blocks(other)) == {0}
    other.zero_grad()
    backward(other, rows(1))
    close(grads(other), expected(made, rows(1)))


def test_two_threads_go_backwards_through_one_model(small: None) -> None:
    made, wrong = made_of(), []
    weights = list(made.parameters())

    def loss(x: Tensor) -> Tensor:
        return made(x)[0].pow(3).sum()

    truth = [torch.autograd.grad(loss(rows(i)), weights) for i in range(2)]

    def work(number: int) -> None:
        for _ in range(40):
            found = torch.autograd.grad(loss(rows(number)), weights)
            wrong.append(not all(torch.equal(*pair) for pair in zip(found, truth[number], strict=True)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 80
    assert not any(wrong)


def test_evaluation_gives_memory_back_and_takes_no_gradient_with_it(small: None) -> None:
    made, x = made_of(), rows()
    backward(made, x)
    before = grads(made)
    made.train()
    assert set(blocks(made)) == {1}
    made.eval()
    assert set(blocks(made)) == {0}
    close(grads(made), before)
    made.train().zero_grad()
    backward(made, x)
    close(grads(made), before)


def test_another_precision_between_steps(small: None) -> None:
    made = made_of()
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float64):
        made.to(dtype).zero_grad()
        backward(made, rows().to(dtype))
        assert {grad.dtype for grad in grads(made)} == {dtype}
    close(grads(made), expected(made, rows()))


def faults(work: Callable[[], object]) -> int:
    """How many pages the system maps meanwhile."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.fixture
def counted() -> None:
    """The system counts the pages that it maps, and the C library has given back what it kept of earlier tests."""
    with mmap.mmap(-1, 1 << 23) as fresh:
        if not faults(lambda: fresh.write(bytes(len(fresh)))):
            pytest.skip("this system does not count the pages that it maps")
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def test_a_block_given_back_is_the_next_of_its_size() -> None:
    memory, like = Memory(), torch.empty(1, dtype=torch.float32)
    first = memory.empty((3200, 3200), like)
    where = first.data_ptr()
    assert memory.empty((3200, 3200), like).data_ptr() != where, "written into while it is held"
    del first
    assert memory.empty((3200, 3200), like).data_ptr() == where


def test_a_block_is_mapped_once(counted: None) -> None:
    """One of 40 MB, which the C library itself would not keep."""
    memory, like = Memory(), torch.empty(1, dtype=torch.float32)
    fresh, *again = (faults(lambda: memory.empty((3200, 3200), like).fill_(1)) for _ in range(4))
    assert fresh > 10 * min(again)
    assert min(again) < 50


def test_steps_map_next_to_nothing_anew(single: None, counted: None) -> None:
    """Three layers of 1000 units, whose gradients below the masks are 8 MB, 2000 pages of 4 KiB."""
    made, x = MaskedAutoregressive(1000, [1000, 1000]), torch.randn(20, 1000)

    def step() -> None:
        made.zero_grad()
        backward(made, x)

    for _ in range(3):
        step()
    assert sum(faults(step) for _ in range(4)) / 4 < 200
