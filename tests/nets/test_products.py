"""Products of matrices against float64, and the choice of what multiplies."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from marginflow.nets import back_ends, product_choice, products
from marginflow.nets.back_ends import BACK_ENDS, LEAST, fits_onednn
from marginflow.nets.product_choice import TORCH, Choice, largest_error, measured, trial

needs_onednn = pytest.mark.skipif("onednn" not in products.usable(), reason="this build of torch has no such function")
QUICK = {"failure": None, "choice": asdict(Choice("onednn", 2_560_000, None, LEAST))}
Kind = Callable[..., Tensor]


def forget() -> None:
    """What this process knows, as if it were another."""
    product_choice._measured.clear()
    product_choice._say_once.cache_clear()
    products._found.clear()


@pytest.fixture(autouse=True)
def _nothing_known(single: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No choice in force, in memory or on disk; what is measured is `QUICK`."""
    monkeypatch.delenv(products.VARIABLE, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(product_choice, "has_onednn", lambda: True)
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: QUICK)
    forget()
    yield
    forget()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is said in the log."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.getMessage().startswith("measuring once"):
                lines.append(record.getMessage())

    log, handler = logging.getLogger("marginflow"), Lines()
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)
    log.setLevel(level)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes, (N, inside, M), of the products that oneDNN computes."""
    found: list[tuple[int, ...]] = []

    def counted(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
        found.append((*a.shape, b.shape[1]))
        return back_ends.by_onednn(a, b, out, accumulate=accumulate)

    monkeypatch.setitem(BACK_ENDS, "onednn", counted)
    return found


def layouts(rows: int, columns: int) -> list[tuple[Tensor, Tensor]]:
    """Matrices (rows, columns) of random numbers as they stand in others, and these."""
    plain, wide, high = torch.randn(rows, columns), torch.randn(rows, columns + 5), torch.randn(rows + 4, columns)
    turned, inside = torch.randn(columns, rows), torch.randn(columns + 2, rows + 3)
    return [
        (plain, plain),
        (wide[:, 2 : columns + 2], wide),
        (high[3 : rows + 3], high),
        (turned.T, turned),
        (inside[1 : columns + 1, 3:].T, inside),
    ]


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to the size."""
    return float((found.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 64, 65), (3, 7, 5), (19, 1, 33), (65, 130, 1), (33, 257, 31)])
@pytest.mark.parametrize("back_end", products.usable())
def test_each_back_end_is_float64s(back_end: str, shape: tuple[int, int, int]) -> None:
    """Whatever the strides, with what stands around the output as it was."""
    (n, inside, m), product = shape, BACK_ENDS[back_end]
    for a, _ in layouts(n, inside):
        for b, _ in layouts(inside, m):
            for accumulate in (False, True):
                for out, around in layouts(n, m):
                    assert fits_onednn(a, b, out) or "onednn" not in products.usable()
                    added = out.double() if accumulate else torch.zeros(n, m).double()
                    expected = a.double() @ b.double() + added
                    size = a.double().abs() @ b.double().abs() + added.abs()  # without what cancels by chance
                    before = around.clone()
                    assert product(a, b, out, accumulate=accumulate) is out
                    found = out.clone()
                    out.copy_(before.as_strided(out.shape, out.stride(), out.storage_offset()))
                    assert torch.equal(around, before)
                    assert float((found - expected).norm() / size.norm()) < 1e-6


@needs_onednn
def test_products_stay_float32s_at_torchs_own_settings() -> None:
    assert torch.get_float32_matmul_precision() == "highest"
    assert largest_error("onednn") < 1e-6
    assert torch.get_float32_matmul_precision() == "highest"


@needs_onednn
@pytest.mark.parametrize(("n", "i", "o"), [(131, 160, 129), (1, 1601, 1290), (2001, 1, 1000), (2003, 1001, 1)])
def test_a_layer_by_onednn(n: int, i: int, o: int, calls: list[tuple[int, ...]]) -> None:
    """Output and gradients, fresh, into slices, and added."""
    x, grad = torch.randn(n, i + 3)[:, 2 : i + 2], torch.randn(n, 2 * o)[:, o:]
    weight, bias, wide = torch.randn(o, i), torch.randn(o), torch.randn(n, i + 7)
    slot, before = wide[:, 4 : i + 4], wide.clone()
    with products.using(products.all_by("onednn")):
        output, with_bias = products.forward(x, weight), products.linear(x, weight, bias)
        into = products.forward(x, weight, torch.empty(n, o + 1)[:, 1:])
        of_x, of_weight = products.input_gradient(grad, weight), products.weight_gradient(grad, x)
        products.input_gradient(grad, weight, slot, accumulate=True)
        products.weight_gradient(grad, x, target := torch.empty(o, i))
    assert calls == [(n, i, o)] * 3 + [(n, o, i), (o, n, i), (n, o, i), (o, n, i)]
    x64, weight64, grad64 = x.double(), weight.double(), grad.double()
    assert error(output, x64 @ weight64.T) < 1e-6
    assert torch.equal(into, output)
    assert error(with_bias, x64 @ weight64.T + bias.double()) < 1e-6
    assert error(of_x, grad64 @ weight64) < 1e-6
    assert error(of_weight, grad64.T @ x64) < 1e-6
    assert torch.equal(target, of_weight)
    assert error(slot, before[:, 4 : i + 4].double() + grad64 @ weight64) < 1e-6
    assert torch.equal(wide[:, :4], before[:, :4])
    assert torch.equal(wide[:, i + 4 :], before[:, i + 4 :])


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        (lambda x: products.forward(x, torch.randn(160, 160)), Choice("onednn", forward=100 * 160 * 160)),
        (lambda x: products.input_gradient(x, torch.randn(160, 160)), Choice("onednn", None, 100 * 160 * 160)),
        (lambda x: products.weight_gradient(x, x), Choice("onednn", None, None, 100 * 160 * 160)),
        (
            lambda x: products.linear(x, torch.randn(160, 160), torch.zeros(160)),
            Choice("onednn", forward=100 * 160 * 160),
        ),
    ],
    ids=["forward", "input_gradient", "weight_gradient", "linear"],
)
@needs_onednn
def test_each_kind_of_product_has_its_own_threshold(kind: Kind, choice: Choice, calls: list[tuple[int, ...]]) -> None:
    with products.using(choice):
        kind(torch.randn(99, 160))
        assert calls == []
        kind(torch.randn(100, 160))
        assert len(calls) == 1
    with products.using(Choice("onednn")):
        kind(torch.randn(100, 160))
    with products.using(TORCH):
        kind(torch.randn(100, 160))
    with products.using(Choice("onednn", 1, 1, 1)):
        kind(torch.randn(70, 160))  # too small for any
    assert len(calls) == 1


class Own(Tensor):
    """A user's subclass."""


class Watches(TorchDispatchMode):
    """Sees what torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_what_is_not_plain_float32_is_left_to_torch(calls: list[tuple[int, ...]]) -> None:
    x, weight = torch.randn(128, 160), torch.randn(160, 160)
    expected = x.double() @ weight.double().T
    with products.using(products.all_by("onednn")):
        assert torch.equal(products.forward(x.double(), weight.double()), expected)
        assert products.forward(x.to("meta"), weight.to("meta")).is_meta
        assert type(products.forward(x.as_subclass(Own), weight)) is Own
        assert type(products.linear(x.as_subclass(Own), weight, torch.zeros(160))) is Own
        bits = products.forward(x.bfloat16(), weight.bfloat16())
        assert bits.dtype == torch.bfloat16
        assert error(products.forward(torch._neg_view(x), weight), -expected) < 1e-6
        assert error(products.forward(x[:, ::2], weight[:, ::2]), x[:, ::2].double() @ weight[:, ::2].double().T) < 1e-6
        assert error(products.forward(x[:1].expand(128, 160), weight), expected[:1].expand(128, 160)) < 1e-6
        assert products.forward(x[:0], weight).shape == (0, 160)
        with Watches() as watch:
            assert error(products.forward(x, weight), expected) < 1e-6
            products.linear(x, weight, torch.zeros(160))
        assert watch.seen.count(torch.ops.aten.mm.default) == 2
        mapped = torch.func.vmap(lambda each: products.forward(each, weight))(torch.stack([x, 2 * x]))
        assert error(mapped[1], 2 * expected) < 1e-6
    assert calls == []


@needs_onednn
def test_trained_weights_are_plain(calls: list[tuple[int, ...]]) -> None:
    with products.using(products.all_by("onednn")), torch.no_grad():
        products.forward(torch.randn(128, 160), nn.Parameter(torch.randn(160, 160)))
    assert len(calls) == 1


@needs_onednn
def test_where_onednn_is_switched_off_torch_multiplies(calls: list[tuple[int, ...]]) -> None:
    x, weight = torch.randn(128, 160), torch.randn(160, 160)
    with products.using(products.all_by("onednn")):
        torch._C._set_mkldnn_enabled(False)
        try:
            products.forward(x, weight)
        finally:
            torch._C._set_mkldnn_enabled(True)
        assert calls == []
        products.forward(x, weight)
    assert len(calls) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_layer_with_its_bias_is_torchs(dtype: torch.dtype) -> None:
    """Also where fewer digits are rounded once, and the bias is of another precision."""
    x, weight, bias = torch.randn(7, 5, dtype=dtype), torch.randn(4, 5, dtype=dtype), torch.randn(4, dtype=dtype)
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 0.0}[dtype]
    expected = nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(products.linear(x, weight, bias), expected, rtol=tolerance, atol=tolerance)


def test_shapes_that_do_not_fit_are_refused_by_torch() -> None:
    """And do not reach oneDNN, whose errors would end the process."""
    x, weight = torch.randn(128, 160), torch.randn(160, 161)
    with products.using(products.all_by("onednn")):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            products.forward(x, weight)
        with pytest.raises(RuntimeError):
            products.input_gradient(x, weight, torch.zeros(128, 3), accumulate=True)


def test_a_choice_of_what_is_missing_is_torchs(monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]]) -> None:
    """As where a training is resumed on another machine."""
    x, weight = torch.randn(128, 160), torch.randn(160, 160)
    monkeypatch.setattr(back_ends, "_function", lambda: None)
    with products.using(products.all_by("onednn")):
        assert torch.equal(products.forward(x, weight), torch.mm(x, weight.T))
    assert calls == []
    assert products.usable() == ["torch"]


def test_using_holds_in_its_thread_and_ends() -> None:
    one, other, seen = Choice("onednn", 5), Choice("onednn", 7), []

    def fails() -> None:
        with products.using(one):
            with products.using(other):
                assert products.chosen() is other
            assert products.chosen() is one
            thread = threading.Thread(target=lambda: seen.append(products.chosen()))
            thread.start()
            thread.join()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert seen == [TORCH]  # nothing was measured: a product alone is no reason to
    assert products.known() is None
    forget()
    assert measured(torch.get_num_threads()) == products.chosen() == products.known() == Choice(**QUICK["choice"])


def test_a_training_of_a_large_model_measures_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = torch.nn.Linear(400, 400), torch.nn.Linear(64, 64)
    quick = Choice(**QUICK["choice"])
    assert products.choice_for(small, 1000) is products.choice_for(large.double(), 100) is TORCH
    assert products.known() is None
    assert products.choice_for(large.float(), 100, repeatable=True) == quick
    assert products.chosen() == products.known() == products.choice_for(small, 1000) == quick  # it is known now
    products._found.clear()
    monkeypatch.setenv(products.VARIABLE, "onednn")
    fixed = Choice("onednn", LEAST, LEAST, LEAST)
    assert products.choice_for(small, 1000) == products.choice_for(large, 100, repeatable=True) == fixed
    with products.using(Choice("onednn", 7)):
        assert products.choice_for(small, 1000) == products.choice_for(large, 100) == Choice("onednn", 7)
    monkeypatch.delenv(products.VARIABLE)
    forget()
    monkeypatch.setattr(product_choice, "_kept", dict)  # it cannot be kept: another process might choose otherwise
    assert products.choice_for(large, 100) == Choice(**QUICK["choice"])
    assert products.choice_for(large, 100, repeatable=True) is TORCH


def test_what_a_training_was_started_with_is_taken_where_it_is_right_here(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice("onednn", 7, None, 9)
    assert products.recorded(None) is TORCH
    assert products.recorded(asdict(choice)) == choice
    for wrong in ({"back_end": "mkl"}, {"forward": "a"}, {"forwards": 1}):
        with pytest.raises((ValueError, TypeError)):
            products.recorded(wrong)
    forget()
    monkeypatch.setattr(product_choice, "_kept", dict)
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: product_choice._failed("it differs by 1e-3"))
    with pytest.warns(RuntimeWarning, match="multiplied by onednn, which is not usable here: torch's own products"):
        assert products.recorded(asdict(choice)) is TORCH


def test_a_trial_that_ended_by_chance_is_made_again_in_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    by_chance = {**product_choice._failed("it could not be measured"), "by_chance": True}
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: by_chance)
    assert measured(1) is measured(1) is TORCH
    forget()
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: QUICK)
    assert measured(1) == Choice(**QUICK["choice"])


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_onednn_told_to_round_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "BF16")
    assert not back_ends.has_onednn()
    monkeypatch.setenv(name, "strict")
    assert back_ends.has_onednn() == ("onednn" in products.usable())


def test_the_environment_fixes_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(products.VARIABLE, "torch")
    assert products.chosen() == TORCH
    forget()  # a process looks once
    monkeypatch.setenv(products.VARIABLE, "onednn")
    assert products.chosen() == Choice("onednn", LEAST, LEAST, LEAST)
    forget()
    monkeypatch.setenv(products.VARIABLE, "")
    assert products.chosen() == Choice(**QUICK["choice"])
    for wrong in ("mkl", "OneDNN"):
        forget()
        monkeypatch.setenv(products.VARIABLE, wrong)
        with pytest.raises(ValueError, match=rf'MARGINFLOW_PRODUCTS.*"?torch"?.*"?onednn"?.*{wrong}'):
            products.chosen()
    with products.using(TORCH):  # fixed is fixed
        assert products.chosen() is TORCH


def test_what_is_wrong_or_missing_is_not_used_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: product_choice._failed("it differs by 1e-3"))
    for told in (None, "onednn", None):
        products._found.clear()  # asked again
        if told:
            monkeypatch.setenv(products.VARIABLE, told)
        assert products.chosen() == TORCH
    assert said == ["products of matrices by torch alone: oneDNN's is not used, as it differs by 1e-3"]


def test_a_choice_that_was_kept_is_not_used_where_the_back_end_is_missing(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    assert measured(1).back_end == "onednn"
    forget()
    monkeypatch.setattr(product_choice, "has_onednn", lambda: False)
    monkeypatch.setattr(product_choice, "_tried_out", lambda threads: pytest.fail("there is nothing to try"))
    assert [measured(1), measured(1)] == [TORCH, TORCH]
    assert len(said) == 1
    assert "this build of torch has no other" in said[0]


def rounded(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
    """As bfloat16 factors make it."""
    return back_ends.by_torch(a.bfloat16().float(), b.bfloat16().float(), out, accumulate=accumulate)


def lost(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
    """Not a number at times."""
    return out.fill_(torch.nan) if len(a) == 17 else back_ends.by_torch(a, b, out, accumulate=accumulate)


def forgetful(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
    """Never adds."""
    return back_ends.by_torch(a, b, out)


@pytest.mark.parametrize("wrong", [rounded, lost, forgetful])
def test_the_trial_finds_what_differs_from_float64(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert largest_error("torch") < 1e-6
    monkeypatch.setitem(BACK_ENDS, "onednn", wrong)
    found = trial("onednn")
    assert found["failure"].startswith("it differs from float64 by ")
    assert found["choice"] == {}


def test_the_trial_starts_where_it_is_quicker_in_every_round_from_there_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ratios = {
        "forward": [1.5, 1.1, 1.2, 1.3, 1.4, 1.5],
        "input_gradient": [1.3] * 6,
        "weight_gradient": [2.0, 2.0, 2.0, 2.0, 2.0, 1.19],
    }
    asked: list[tuple[Any, ...]] = []

    def ratio(name: str, kind: str, *shape: int) -> float:
        asked.append((kind, shape))
        number = product_choice.SHAPES.index(shape)  # pyright: ignore[reportArgumentType]
        by_chance = (asked.count((kind, shape)), kind, number) == (2, "input_gradient", 1)
        return 1.1 if by_chance else ratios[kind][number]

    monkeypatch.setattr(product_choice, "_ratio", ratio)
    monkeypatch.setitem(BACK_ENDS, "onednn", back_ends.by_torch)
    product_choice.print_trial(torch.get_num_threads())
    found = json.loads(capsys.readouterr().out)
    assert found == {"failure": None, "choice": asdict(Choice("onednn", 100 * 256 * 1024, 100 * 256 * 1024, None))}


def test_ratios_are_of_torchs_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A back end that takes three times as long has a third, whatever else the machine did meanwhile."""
    now, calls = [0.0], []

    def takes(seconds: float) -> Any:
        def product(a: Tensor, b: Tensor, out: Tensor, *, accumulate: bool = False) -> Tensor:
            calls.append(seconds)
            now[0] += seconds * (1 if calls.count(seconds) % 4 == 0 else 9)
            return back_ends.by_torch(a, b, out, accumulate=accumulate)

        return product

    monkeypatch.setattr(product_choice.time, "perf_counter", lambda: now[0])
    monkeypatch.setitem(BACK_ENDS, "torch", takes(1.0))
    monkeypatch.setitem(BACK_ENDS, "onednn", takes(3.0))
    for kind in product_choice.PRODUCTS:
        assert product_choice._ratio("onednn", kind, 20, 30) == pytest.approx(1 / 3)


@pytest.mark.skipif(os.name != "posix", reason="programs of a shell")
@pytest.mark.parametrize(
    ("program", "failure"),
    [
        ("kill -SEGV $$", "it ended with -11"),
        ("exit 3", "it ended with 3"),
        ("echo nonsense", "it could not be measured (JSONDecodeError)"),
        ("sleep 30", "it could not be measured (TimeoutExpired)"),
        (None, "it could not be measured (FileNotFoundError)"),
    ],
)
def test_a_trial_that_crashes_ends_nothing_else(
    program: str | None, failure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.undo()  # the trial is the real one, in what stands for Python
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(product_choice, "has_onednn", lambda: True)
    monkeypatch.setattr(product_choice, "LONGEST", 0.2 if program == "sleep 30" else 60)
    path = tmp_path / "python"
    if program is not None:
        path.write_text(f"#!/bin/sh\nexec 2>/dev/null\n{program.replace('sleep', 'exec sleep')}\n")
        path.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(path))
    assert measured(1) == TORCH
    assert said == [f"products of matrices by torch alone: oneDNN's is not used, as {failure}"]


def test_without_a_python_there_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "no Python" in product_choice._tried_out(1)["failure"]


def test_a_choice_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def tried_out(threads: int) -> dict[str, Any]:
        tried.append(threads)
        return QUICK

    monkeypatch.setattr(product_choice, "_tried_out", tried_out)
    expected = Choice(**QUICK["choice"])
    assert [measured(1), measured(1), measured(2)] == [expected] * 3
    forget()  # as in another process
    assert [measured(1), measured(2)] == [expected] * 2
    assert tried == [1, 2]
    kept = json.loads((tmp_path / "kept" / product_choice.FILE).read_text())
    assert list(kept.values()) == [QUICK, QUICK]
    assert all(torch.__version__ in key and product_choice.processor() in key for key in kept)
    assert product_choice.processor()
    monkeypatch.setattr(torch, "__version__", "0.1")
    forget()
    measured(1)
    assert tried == [1, 2, 1]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "\udcff",
        "[]",
        "3",
        '{"KEY": 1}',
        '{"KEY": []}',
        '{"KEY": {}}',
        '{"KEY": {"failure": null}}',
        '{"KEY": {"failure": null, "choice": null}}',
        '{"KEY": {"failure": 3, "choice": {}}}',
        '{"KEY": {"failure": null, "choice": {"nonsense": 1}}}',
        '{"KEY": {"failure": null, "choice": {"back_end": "mkl"}}}',
        '{"KEY": {"failure": null, "choice": {"back_end": ["onednn"]}}}',
        '{"KEY": {"failure": null, "choice": {"back_end": "onednn", "forward": "2"}}}',
        '{"KEY": {"failure": null, "choice": {"back_end": "onednn", "forward": true}}}',
    ],
)
def test_a_damaged_file_is_written_anew(damaged: str, tmp_path: Path) -> None:
    path = tmp_path / "kept" / product_choice.FILE
    path.parent.mkdir()
    key = product_choice._key(1)
    path.write_bytes(damaged.replace("KEY", key).encode(errors="surrogateescape"))
    assert measured(1) == Choice(**QUICK["choice"])
    assert json.loads(path.read_text()) == {key: QUICK}


def test_a_damaged_entry_takes_no_other_with_it(tmp_path: Path) -> None:
    path = tmp_path / "kept" / product_choice.FILE
    path.parent.mkdir()
    key = product_choice._key(1)
    kept = {"failure": "it crashed", "choice": {}}
    path.write_text(json.dumps({"another": 3, key: kept}))
    assert measured(1) == TORCH
    assert product_choice._kept() == {key: kept}


def test_a_folder_that_cannot_be_written_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert measured(1) == Choice(**QUICK["choice"])
    assert len(said) == 1
    assert "could not be kept" in said[0]


def test_it_is_kept_beside_the_compiled_loops_or_with_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert product_choice._folder() == tmp_path / "kept"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert product_choice._folder() == Path(product_choice.__file__).parent / "masked" / "__pycache__"
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert product_choice._folder() == tmp_path / "marginflow"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert product_choice._folder() == tmp_path / ".cache" / "marginflow"
