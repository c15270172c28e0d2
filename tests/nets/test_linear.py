"""Plain networks by another back end's products: the numbers and gradients of torch's."""

from __future__ import annotations

import pytest
import torch

from marginflow.nets import MLP, products
from marginflow.nets.product_choice import Choice


@pytest.mark.parametrize("back_end", [name for name in products.usable() if name != "torch"])
@pytest.mark.usefixtures("single")
def test_an_mlp_has_torchs_output_and_gradients(back_end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LEAST", 1)
    network, x = MLP(7, 5, hidden=[33, 17]), torch.randn(9, 7, requires_grad=True)

    def found() -> list[torch.Tensor]:
        out = network(x)
        return [out, *torch.autograd.grad(out.square().sum(), [x, *network.parameters()])]

    with products.using(Choice(back_end, 1, 1, 1)):
        assert products.are_anothers(x, network.layers[0].weight)
        ours = found()
    assert not products.are_anothers(x.double(), network.layers[0].weight)
    for own, other in zip(ours, found(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
