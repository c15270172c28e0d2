"""Several transforms as one node of the graph, against the parts one by one with gradients left to autograd."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from marginflow.nets import autograd
from marginflow.nets.masked import linear as layers
from marginflow.transforms import ActNorm, BatchNorm, MaskedAutoregressive, Planar, Radial, Sequential
from marginflow.transforms.chain import JOINED, joined, may_be_joined
from marginflow.transforms.univariate.spline import RationalQuadratic

Inputs = tuple[Tensor, ...]


@pytest.fixture(autouse=True)
def _several_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands in small layers too."""
    monkeypatch.setattr(layers, "WEIGHTS_A_CALL", 4)


def maf(seed: int = 0, context_features: int = 0, activation: str = "tanh", **options: Any) -> MaskedAutoregressive:
    hidden = [8, 6, 8] if options.get("residual") else [9, 7]
    return MaskedAutoregressive(
        5, hidden, order="random", seed=seed, context_features=context_features, activation=activation, **options
    )


def norm(kind: type[BatchNorm] | type[ActNorm], features: int = 5) -> BatchNorm | ActNorm:
    """One with statistics, and weights that are not those that it starts from."""
    made = kind(features)
    made.set_statistics(torch.randn(features), torch.rand(features) + 0.5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(features))
    return made


def chain_of(order: str, context_features: int = 0, **options: Any) -> Sequential:
    """A letter for each part: M and m masked ones, B batch and A activation normalisation, P planar."""
    torch.default_generator.manual_seed(5)
    parts = {
        "M": lambda i: maf(i, context_features, **options),
        "m": lambda i: maf(i, **options),
        "B": lambda i: norm(BatchNorm),
        "A": lambda i: norm(ActNorm),
        "P": lambda i: Planar(5),
    }
    return Sequential(*(parts[letter](i) for i, letter in enumerate(order)))


def inputs_of(context_features: int = 0, num_rows: int = 6) -> Inputs:
    torch.default_generator.manual_seed(6)
    x = torch.randn(num_rows, 5, requires_grad=True)
    return (x, torch.randn(num_rows, context_features, requires_grad=True)) if context_features else (x,)


def loss(transform: nn.Module, *inputs: Tensor) -> Tensor:
    torch.default_generator.manual_seed(7)  # for dropout
    z, log_det = transform(*inputs)
    weights = torch.linspace(0.5, 2, len(z))
    return (weights * (z.pow(3).flatten(1).sum(1) + log_det.square())).sum()


def gradients(transform: nn.Module, *inputs: Tensor) -> list[Tensor]:
    wanted = [*inputs, *transform.parameters()]
    return list(torch.autograd.grad(loss(transform, *inputs), wanted))


def by_parts(transform: Sequential) -> nn.Module:
    """The same, its parts one by one and left to autograd."""

    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transform = transform

        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            total: Any = 0
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(autograd, "left_to_autograd", lambda: True)
                for part in self.transform:
                    x, log_det = part(x, context if part.context_features else None)
                    total = total + log_det
            return x, total

    return Parts()


def fake(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Computed with shapes alone."""

    def run(x: Tensor) -> Tensor:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return function(torch.empty(x.shape))

    return run


class Nodes(TorchDispatchMode):
    """Sees nothing but counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def nodes(*outputs: Tensor) -> set[str]:
    """The names of the nodes of a graph, but for those of inputs."""
    found, names = [each.grad_fn for each in outputs], set()
    while found:
        node = found.pop()
        if node is not None and "AccumulateGrad" not in node.name():
            names.add(node.name())
            found += [each for each, _ in node.next_functions]
    return names


def close(found: Sequence[Tensor], others: Sequence[Tensor], tolerance: float = 1e-11) -> None:
    assert len(found) == len(others) > 0
    torch.testing.assert_close(list(found), list(others), rtol=tolerance, atol=tolerance)


ORDERS = ["MBAM", "BM", "MB", "AMB", "BAMm", "mMBA", "AB", "MAMBM", "PMPB", "PPA"]


@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_chain_is_its_parts(order: str, train: bool, context_features: int) -> None:
    model = chain_of(order, context_features, dropout=0.3).train(train)
    inputs = inputs_of(context_features)
    if context_features and "M" not in order:
        inputs = (inputs[0],)
    assert len(joined(model, inputs[0])) == 1
    z, log_det = model(*inputs)
    assert nodes(z, log_det) == {"_NodeBackward"}
    parts = by_parts(model)
    close([loss(model, *inputs)], [loss(parts, *inputs)])
    close(gradients(model, *inputs), gradients(parts, *inputs))
    with torch.no_grad():
        close([loss(model, *inputs)], [loss(parts, *inputs)])
    if context_features and "M" in order:
        integers = (inputs[0], torch.arange(12).view(6, 2))
        close([loss(model, *integers)], [loss(parts, *integers)])


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "elu"])
def test_of_every_activation(activation: str, residual: bool) -> None:
    model = chain_of("MBAM", 2, activation=activation, residual=residual, dropout=0.2).train()
    inputs = inputs_of(2)
    close(gradients(model, *inputs), gradients(by_parts(model), *inputs))


@pytest.mark.parametrize(("order", "train"), [("MBAM", True), ("BAM", True), ("MBA", False), ("PMP", True)])
def test_gradients_and_second_gradients_are_finite_differences(order: str, train: bool) -> None:
    model, inputs = chain_of(order, 1).train(train), inputs_of(1, 3)
    assert torch.autograd.gradcheck(model, inputs)
    assert torch.autograd.gradgradcheck(model, inputs)


def test_a_gradient_penalty_reaches_all_parameters() -> None:
    model, inputs, found = chain_of("MBAM", 2, dropout=0.3).train(), inputs_of(2), []
    for each in (model, by_parts(model)):
        grads = torch.autograd.grad(loss(each, *inputs), inputs, create_graph=True)
        close([grad.detach() for grad in grads], torch.autograd.grad(loss(each, *inputs), inputs))
        penalty = torch.stack([grad.square().sum() for grad in grads]).sum()
        found.append(torch.autograd.grad(penalty, [*inputs, *model.parameters()]))
    close(found[0], found[1], 1e-9)


@pytest.mark.parametrize("frozen", [["0"], ["1"], ["2"], ["3"], ["0", "1"], ["1", "2", "3"], ["0", "1", "2"]])
@pytest.mark.parametrize("of_x", [True, False])
def test_frozen_parts_get_no_gradient_and_the_rest_the_same(frozen: list[str], of_x: bool) -> None:
    model, inputs = chain_of("MBAM", 2).train(), tuple(each.detach() for each in inputs_of(2))
    loss(model, *inputs).backward()
    whole = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    for name in frozen:
        model.transforms[int(name)].requires_grad_(False)
    x = inputs[0].clone().requires_grad_(of_x)
    loss(model, x, inputs[1]).backward()
    for name, parameter in model.named_parameters():
        if name.split(".")[1] in frozen:
            assert parameter.grad is None
        else:
            close([parameter.grad], [whole[name]])
    assert (x.grad is None) == (not of_x)


@pytest.mark.parametrize("wanted", [0, 1])
def test_the_gradient_of_x_or_of_the_context_alone(wanted: int) -> None:
    model, inputs = chain_of("MBAM", 2).train(), inputs_of(2)
    expected = gradients(by_parts(model), *inputs)[wanted]
    model.requires_grad_(False)
    given = [each if i == wanted else each.detach() for i, each in enumerate(inputs)]
    (found,) = torch.autograd.grad(loss(model, *given), given[wanted])
    close([found], [expected])


@pytest.mark.parametrize("output", [0, 1])
def test_one_output_alone(output: int) -> None:
    model, inputs = chain_of("MBAM", 2).train(), inputs_of(2)
    wanted = [*inputs, *model.parameters()]
    found, others = (
        torch.autograd.grad(each(*inputs)[output].square().sum(), wanted, allow_unused=True, materialize_grads=True)
        for each in (model, by_parts(model))
    )
    close(found, others)


def test_one_graph_backwards_twice() -> None:
    model, inputs = chain_of("MBAM", 2, dropout=0.3).train(), inputs_of(2)
    value = loss(model, *inputs)
    wanted = [*inputs, *model.parameters()]
    once = torch.autograd.grad(value, wanted, retain_graph=True)
    loss(model, *inputs)  # another pass between
    twice = torch.autograd.grad(value, wanted)
    close(once, twice, 0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(value, wanted)


def test_several_gradients_at_once() -> None:
    """As torch maps a backward pass."""
    model, (x,) = chain_of("MBAM").train(), inputs_of()

    def total(x: Tensor) -> Tensor:
        return model(x)[0].sum(0) + model(x)[1].sum()

    found, others = (torch.autograd.functional.jacobian(total, x.detach(), vectorize=each) for each in (True, False))
    close([found], [others])
    z, _ = model(x)
    several = torch.randn(3, *z.shape)
    mapped = torch.func.vmap(lambda grad: torch.autograd.grad(z, x, grad, retain_graph=True)[0])(several)
    close([mapped[2]], torch.autograd.grad(z, x, several[2]))


@pytest.mark.parametrize("order", ["sequential", [3, 0, 4, 1, 2]])
def test_an_output_changed_in_place_is_noticed_or_harmless(order: Any) -> None:
    (x,) = inputs_of()
    model = Sequential(norm(BatchNorm), MaskedAutoregressive(5, [8], order=order)).train()
    wanted = [x, *model.parameters()]
    expected = torch.autograd.grad(model(x)[0].sum(), wanted)
    z, _ = model(x)
    value = z.sum()
    with torch.no_grad():
        z.mul_(2)
    if order == "sequential":  # it is needed for the gradient
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            value.backward()
    else:
        close(torch.autograd.grad(value, wanted), expected)


def test_rows_are_not_changed() -> None:
    for train in (True, False):
        model, inputs = chain_of("MBAMA", 2, activation="relu").train(train), inputs_of(2)
        before = [each.clone() for each in inputs]
        loss(model, *inputs).backward()
        with torch.no_grad():
            model(*inputs)
        close([each.detach() for each in inputs], [each.detach() for each in before], 0)


# which are joined


def groups(model: Sequential, num_rows: int = 6) -> list[int]:
    return [len(group) for group in joined(model, torch.empty(num_rows, 5))]


def test_neighbours_of_other_kinds_part_a_chain() -> None:
    spline = MaskedAutoregressive(5, [8], RationalQuadratic())
    model = Sequential(norm(BatchNorm), maf(), Radial(5), maf(), norm(ActNorm), spline, norm(ActNorm))
    assert groups(model) == [2, 1, 2, 1, 1]
    x = inputs_of()
    close(gradients(model, *x), gradients(by_parts(model), *x))
    assert groups(Sequential()) == []


def test_large_neighbours_are_not_joined() -> None:
    """By their weights, and by what they keep for the rows."""
    model = chain_of("MBAM")
    units = model[0].num_units
    most = JOINED // (2 * units + 20)
    assert groups(model, most) == [4]
    assert groups(model, most + 1) == [3, 1]
    assert groups(model, JOINED // units) == [1, 2, 1]
    assert groups(model, JOINED // units + 1) == [1, 2, 1]
    assert groups(model, JOINED) == [1, 1, 1, 1]
    wide = MaskedAutoregressive(5, [400, 700])
    assert wide.num_weights > JOINED
    assert groups(Sequential(norm(ActNorm), wide, wide, norm(ActNorm))) == [1, 1, 1, 1]
    half = MaskedAutoregressive(5, [200, 400])
    assert JOINED // 3 < half.num_weights < JOINED // 2
    assert groups(Sequential(half, half, half)) == [2, 1]
    exact = Sequential(*(ActNorm(JOINED // 4) for _ in range(3)))
    assert [len(group) for group in joined(exact, torch.empty(1, JOINED // 4))] == [2, 1]


def test_sizes_are_those_of_weights_and_units() -> None:
    made = maf(0, 2)
    assert made.num_units == 9 + 7 + 10
    seen = sum(int((layer.dense_weight() != 0).sum()) + layer.out_features for layer in made.network.layers)
    assert made.num_weights == seen
    assert norm(ActNorm).num_weights == 10


HOOKS: list[Callable[[nn.Module, Callable[..., None]], Any]] = [
    lambda part, hook: part.register_forward_hook(hook),
    lambda part, hook: part.register_forward_pre_hook(hook),
    lambda part, hook: part.register_full_backward_hook(hook),
    lambda part, hook: part.register_full_backward_pre_hook(hook),
    lambda part, hook: register_module_forward_hook(lambda module, *_: hook() if module is part else None),
]


@pytest.mark.parametrize("register", HOOKS, ids=["forward", "forward_pre", "backward", "backward_pre", "global"])
def test_hooks_of_a_part_are_called(register: Callable[..., Any]) -> None:
    model, inputs, called = chain_of("MBAM", 2).train(), inputs_of(2), []
    expected = gradients(model, *inputs)
    for part in (*model, model[0].network):
        handle = register(part, lambda *_: called.append(1))
        found = gradients(model, *inputs)
        handle.remove()
        assert called == [1]
        called.clear()
        close(found, expected)
    gradients(model, *inputs)
    assert called == []


@torch.no_grad()
def test_a_part_that_was_compiled_by_itself_is_called() -> None:
    called: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        called.append(1)
        return graph.forward

    torch.compiler.reset()
    (x,) = inputs_of()
    parts = [norm(ActNorm), MaskedAutoregressive(5, [8]), norm(ActNorm)]
    assert groups(Sequential(*parts)) == [3]
    expected = Sequential(*parts)(x)
    parts[1].compile(backend=backend)
    close(Sequential(*parts)(x), expected)
    assert called
    parts[1] = MaskedAutoregressive(5, [8])
    parts[1].network.compile(backend=backend)
    assert not may_be_joined(parts[1])


def test_a_forward_of_ones_own_is_called() -> None:
    """Of a subclass, or put into a part; a subclass without one is joined."""

    class Doubled(BatchNorm):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            z, log_det = super().forward(x, context)
            return 2 * z, log_det

    class Sees(MaskedAutoregressive):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return super().forward(2 * x, context)

    class Named(ActNorm):
        """Only another name."""

    (x,) = inputs_of()
    own = [Doubled(5).train(), Sees(5, [8]), norm(ActNorm)]
    own[2].forward = lambda x, context=None: (x + 1, x.new_zeros(len(x)))
    for part in own:
        assert not may_be_joined(part)
        before, after = norm(ActNorm), norm(ActNorm)
        close([Sequential(before, part, after)(x)[0]], [after(part(before(x)[0])[0])[0]])
    assert may_be_joined(Named(5))


def test_activations_of_ones_own_are_left_to_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = torch.tensor([0.3], requires_grad=True)
    own = MaskedAutoregressive(5, [8], activation=lambda h: nn.functional.prelu(h, slope))
    model, (x,) = Sequential(norm(ActNorm), own, norm(BatchNorm)).train(), inputs_of()
    assert groups(model) == [3]
    found, others = (torch.autograd.grad(loss(each, x), [x, slope]) for each in (model, by_parts(model)))
    close(found, others)
    expected = model(x)[0].detach()
    monkeypatch.setattr(layers.MaskedLinear, "forward", lambda *_: pytest.fail("masks are multiplied"))
    with torch.no_grad():  # then all is quick
        close([model(x)[0]], [expected])


# what torch does with models


def test_torch_func() -> None:
    model, (x, context) = chain_of("MBAM", 2).eval(), inputs_of(2)
    swapped = {name: (1.5 * each).detach().requires_grad_() for name, each in model.named_parameters()}
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, each in other.named_parameters():
            each.copy_(swapped[name])
    z, log_det = torch.func.functional_call(model, swapped, (x, context))
    expected, log_dets = other(x, context)
    close([z, log_det], [expected, log_dets])
    ours = torch.autograd.grad(z.pow(2).sum() + log_det.sum(), list(swapped.values()))
    others = torch.autograd.grad(expected.pow(2).sum() + log_dets.sum(), list(other.parameters()))
    close(ours, others)

    def one(x: Tensor, context: Tensor) -> Tensor:
        return model(x[None], context[None])[0][0]

    jacobians = torch.func.vmap(torch.func.jacrev(one))(x, context)
    close([torch.linalg.slogdet(jacobians).logabsdet], [model(x, context)[1]])
    jacobian = torch.func.jacrev(lambda x: chain_of("BAM").train()(x)[1].sum())(x)  # through a batch's statistics
    train = chain_of("BAM").train()
    close([jacobian], torch.autograd.grad(train(x)[1].sum(), x))


@pytest.mark.slow
def test_it_compiles_whole() -> None:
    x, context = torch.randn(4, 3, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    model = Sequential(MaskedAutoregressive(3, [4], context_features=2), norm(BatchNorm, 3)).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found, others = (
        [*each(x, context), *torch.autograd.grad(loss(each, x, context), [x, context])] for each in (compiled, model)
    )
    close(found, others)


def test_a_graph_holds_for_any_number_of_rows() -> None:
    model, (x,) = chain_of("MBA").eval(), inputs_of()
    with torch.no_grad():
        rows = {0: torch.export.Dim("rows", min=2, max=JOINED)}
        graph = torch.export.export(model, (x.detach(),), dynamic_shapes=(rows,)).module()
        more = torch.randn(300, 5)
        close(graph(more), model(more))


@pytest.mark.parametrize("first", [torch.func.jacrev, fake, torch.func.vmap], ids=["jacrev", "fake", "vmap"])
def test_whatever_torch_does_first_the_next_pass_is_ordinary(
    first: Callable[..., Callable[[Tensor], object]],
) -> None:
    model, (x,) = Sequential(norm(ActNorm), maf()), inputs_of()
    first(lambda rows: model(rows.view(-1, 5))[0])(x)
    found = gradients(model, x)
    assert {type(each) for each in found} == {Tensor}
    close(found, gradients(by_parts(model), x))


def test_recomputed_parts_and_checkpoints() -> None:
    model, inputs = chain_of("MBAM", 2, dropout=0.3).train(), inputs_of(2)
    expected = gradients(model, *inputs)
    model.recompute = True
    close(gradients(model, *inputs), expected)
    model.recompute = False
    torch.default_generator.manual_seed(7)
    z, log_det = checkpoint(model, *inputs, use_reentrant=False)
    weights = torch.linspace(0.5, 2, len(z))
    value = (weights * (z.pow(3).sum(1) + log_det.square())).sum()
    close(torch.autograd.grad(value, [*inputs, *model.parameters()]), expected)


def test_files_and_copies() -> None:
    model, inputs = chain_of("MBAM", 2), inputs_of(2)
    expected = gradients(model, *inputs)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    fresh = Sequential(maf(0, 2), BatchNorm(5), ActNorm(5), maf(3, 2))
    fresh.load_state_dict(model.state_dict())
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False), fresh):
        close(gradients(other, *inputs), expected, 0)


def test_a_context_comes_in_the_precision_of_the_rows() -> None:
    model, (x, context) = chain_of("MBAM", 2).float().train(), inputs_of(2)
    x, context = x.detach().float(), context.detach().float().double().requires_grad_()
    z, log_det = model(x, context)
    assert z.dtype == log_det.dtype == torch.float32
    (grad,) = torch.autograd.grad(z.sum(), context)
    assert grad.dtype == torch.float64
    close([z], [model(x, context.float())[0]], 0)


def test_autocast_and_halves_of_precision() -> None:
    model, inputs = chain_of("MBAM", 2).float().train(), [each.detach().float() for each in inputs_of(2)]
    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = model(*inputs)
    (z.float().sum() + log_det.float().sum()).backward()
    assert all(each.grad is not None for each in model.parameters())
    half = chain_of("MBAM", 2).bfloat16().train()
    loss(half, *(each.bfloat16() for each in inputs)).backward()
    assert {each.grad.dtype for each in half.parameters() if each.grad is not None} == {torch.bfloat16}


def test_what_does_not_fit_is_refused() -> None:
    model, (x, context) = chain_of("ABM", 2).train(), inputs_of(2)
    for rows in (torch.tensor(1.0), [[1.0] * 5], None):
        with pytest.raises(ValueError, match="x must be a tensor of rows"):
            model(rows, context)
    with pytest.raises(ValueError, match="5"):
        model(x[:, :4], context)
    with pytest.raises(ValueError, match="context"):
        model(x)
    with pytest.raises(ValueError, match="context"):
        model(x, context[:, :1])
    with pytest.raises(ValueError, match="at least 2 rows in training mode; got 1"):
        model(x[:1], context[:1])
    fresh = Sequential(ActNorm(5), BatchNorm(5)).eval()
    with pytest.raises(ValueError, match="no statistics of the training set yet: call calibrate"):
        fresh(x)
    with pytest.raises(ValueError, match="no inverse in training mode"):
        model.inverse(x, context)


# normalisation by itself


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2, 5), (4, 3, 7)], ids=["rows", "images", "signals"])
@pytest.mark.parametrize(("kind", "train"), [(BatchNorm, True), (BatchNorm, False), (ActNorm, True)])
def test_normalisation_of_rows_and_images(
    kind: type[BatchNorm] | type[ActNorm], train: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.default_generator.manual_seed(1)
    layer, x = norm(kind, 3).train(train), torch.randn(shape, requires_grad=True)
    assert nodes(*layer(x)) == {"_NodeBackward"}
    ours = gradients(layer, x)
    parameters = list(layer.parameters())

    def by_parameters(x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        names = (name for name, _ in layer.named_parameters())
        return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))

    assert torch.autograd.gradcheck(by_parameters, (x, *parameters))
    assert torch.autograd.gradgradcheck(by_parameters, (x, *parameters))
    log_det = torch.linalg.slogdet(
        torch.func.jacrev(lambda each: layer.eval()(each[None])[0].flatten())(x[0]).flatten(1).view(x[0].numel(), -1)
    ).logabsdet
    close([layer.eval()(x)[1][0]], [log_det])
    layer.train(train)
    monkeypatch.setattr(autograd, "left_to_autograd", lambda: True)
    close(gradients(layer, x), ours)


def test_normalisation_of_rows_that_stand_otherwise_in_memory() -> None:
    for kind in (BatchNorm, ActNorm):
        layer = norm(kind, 3).train()
        x = torch.randn(4, 3, 2, 5)
        turned = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        sliced = torch.randn(8, 3, 2, 9)[::2, :, :, 2:7].copy_(x).requires_grad_()
        expected = gradients(layer, x.clone().requires_grad_())
        close(gradients(layer, turned), expected)
        close(gradients(layer, sliced), expected)


def test_float32_keeps_its_digits(single: None) -> None:
    """Gradients in float32 beside those in float64, with a large mean."""
    torch.default_generator.manual_seed(0)
    layer, x = norm(BatchNorm, 3).train(), torch.randn(200, 3) + 30
    ours = gradients(layer, x.requires_grad_())
    torch.set_default_dtype(torch.float64)
    exact = gradients(copy.deepcopy(layer).double(), x.detach().double().requires_grad_())
    for own, other in zip(ours, exact, strict=True):
        assert float((own.double() - other).norm() / other.norm()) < 1e-4


def test_one_chain_is_one_node_and_fewer_operations() -> None:
    model, (x,) = chain_of("MBAM").train(), inputs_of()
    with Nodes() as together:
        loss(model, x).backward()
    with Nodes() as apart:
        loss(by_parts(model), x).backward()
    assert together.count < 0.7 * apart.count
