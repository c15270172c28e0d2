"""No rows are rows too: every density and every transform gives as many numbers as there are."""

from __future__ import annotations

import pytest
import torch
from registry import DISTRIBUTIONS, TRANSFORMS, build_distribution, build_transform


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_density_of_no_rows(name: str) -> None:
    model, case = build_distribution(name).eval(), DISTRIBUTIONS[name]
    x, context = case.x(2), case.context(2)
    context = None if context is None else context[:0]
    assert model.log_prob(x[:0], context).shape == (0,)
    assert model.sample(0, context).shape == x[:0].shape
    samples, flagged = model.sample_and_flag(0, context)
    assert (samples.shape, flagged.shape) == (x[:0].shape, (0,))
    if model.exact and "elsewhere" not in name:  # which are not reparameterised
        assert model.sample_and_log_prob(0, context)[1].shape == (0,)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_of_no_rows(name: str, grad: bool) -> None:
    transform, case = build_transform(name).eval(), TRANSFORMS[name]
    x, context = case.x(2), case.context(2)
    none = None if context is None else context[:0]
    with torch.set_grad_enabled(grad):
        z, log_det = transform(x[:0], none)
        assert (z.shape[1:], log_det.shape) == (transform(x, context)[0].shape[1:], (0,))
        assert transform.inverse(z, none)[0].shape == x[:0].shape
