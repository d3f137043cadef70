"""Optimizers, schedules and clipping against PyTorch's own results, step by step, and what they refuse."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import initcore as ic
from initcore.optimizers import OPTIMIZERS
from nn_helpers import CE, LABELS, X, bits, small_network

# Written by tools/torch_fixtures/optimizers.py.
TORCH = json.loads((Path(__file__).parent / "vectors" / "optimizers_torch.json").read_text())


def title(case):
    schedule = case["schedule"] and f"{case['schedule'][0]}{case['schedule'][1]}"
    return f"{case['optimizer']}{case['options']}-{schedule}-{case['clip_norm']}-{case['batch_size']}"


def torch_network(dtype=np.float64):
    net = ic.MLP(TORCH["sizes"], activation="tanh", seed=0, dtype=dtype)
    net.set_parameters(TORCH["initial"])
    return net


def train(case, dtype=np.float64, **options):
    """Train as the case says; give the history and the flat parameters after every epoch."""
    net, seen = torch_network(dtype), []
    optimizer = getattr(ic, case["optimizer"])(
        **{k: tuple(v) if k == "betas" else v for k, v in case["options"].items()}
    )
    schedule = case["schedule"] and getattr(ic, case["schedule"][0])(**case["schedule"][1])
    history = net.fit(
        TORCH["x"], TORCH["t"], loss="mse", optimizer=optimizer, schedule=schedule,
        clip_norm=case["clip_norm"], batch_size=case["batch_size"], epochs=case["epochs"], shuffle=False,
        callbacks=[lambda _: seen.append(np.concatenate([p.ravel() for p in net.parameters().values()]))],
        **options,
    )  # fmt: skip
    return history, seen


@pytest.mark.parametrize("case", TORCH["cases"], ids=title)
def test_a_hundred_steps_are_those_of_torch(case):
    history, seen = train(case)
    for epoch, want in case["parameters"].items():
        error = np.abs(seen[int(epoch) - 1] - want) / np.maximum(1, np.abs(want))
        assert error.max() <= 1e-10, f"after epoch {epoch}"
    norms = history["gradient_norm"]  # before clipping
    assert [norms[0], norms[-1]] == pytest.approx(case["gradient_norm"], rel=1e-10)


def test_the_cases_differ():
    """An option that is not handed on would leave the result of another case."""
    last = [tuple(case["parameters"][str(case["epochs"])]) for case in TORCH["cases"]]
    same = len(last) - len(set(last))
    assert same == 0
    assert {case["optimizer"] for case in TORCH["cases"]} == {kind.__name__ for kind in OPTIMIZERS.values()}


@pytest.mark.parametrize("case", TORCH["cases"], ids=title)
def test_float32_follows(case):
    """The same to the type's precision: no cancellation of the centered rule makes it a NaN."""
    history, seen = train(case, np.float32)
    assert not history.diverged
    final = case["parameters"][str(case["epochs"])]
    np.testing.assert_allclose(seen[-1], final, rtol=2e-3, atol=2e-3)


def test_schedules_and_clipping_do_not_depend_on_threads():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(64, 200)), rng.integers(0, 10, 64)

    def fitted(threads, **options):
        net = ic.MLP([200, 300, 10], seed=0)
        net.fit(
            x, t, loss=CE, optimizer=ic.AdamW(0.01), batch_size=24, epochs=3, num_threads=threads, **options
        )
        return bits(net.parameters())

    options = {"schedule": ic.CosineSchedule(warmup=0.5), "clip_norm": 0.5}
    alone = fitted(1, **options)
    assert all(fitted(threads, **options) == alone for threads in (2, 3, 7))
    assert fitted(1) == fitted(1, schedule=ic.ConstantSchedule(), clip_norm=1e30) != alone


def test_no_schedule_is_the_constant_one():
    options = {"loss": CE, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 2}
    plain, constant = small_network(), small_network()
    plain.fit(X, LABELS, **options)
    constant.fit(X, LABELS, schedule=ic.ConstantSchedule(), clip_norm=None, **options)
    assert bits(plain.parameters()) == bits(constant.parameters())


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_a_rate_beyond_all_reason_is_seen_to_diverge(kind):
    net = small_network(activation="relu", dtype=np.float64)
    options = {"momentum": 0.9} if kind is ic.SGD else {}
    with pytest.warns(RuntimeWarning, match="became infinite or NaN in step"):
        history = net.fit(
            X, X[:, :2], loss="mse", optimizer=kind(1e200, **options), batch_size=2, epochs=50,
            clip_norm=1.0,
        )  # fmt: skip
    assert history.diverged
    assert all(np.isfinite(value).all() for value in net.parameters().values())


# --- refusals ------------------------------------------------------------------------------------

BETAS = "betas must be a tuple of two numbers, got"
BAD = [
    (ic.Adagrad, {"lr": -1}, ValueError, "lr must be finite and at least 0, got -1"),
    (ic.Adagrad, {"lr": "a"}, TypeError, "lr must be a number, got 'a'"),
    (ic.Adagrad, {"lr_decay": -0.1}, ValueError, "lr_decay must be .* got -0.1"),
    (ic.Adagrad, {"lr_decay": None}, TypeError, "lr_decay must be a number, got None"),
    (ic.Adagrad, {"eps": math.nan}, ValueError, "eps must be .* got NaN"),
    (ic.Adagrad, {"eps": [1]}, TypeError, r"eps must be a number, got \[1\]"),
    (ic.Adagrad, {"initial_accumulator_value": -1}, ValueError, "initial_accumulator_value must be"),
    (ic.Adagrad, {"initial_accumulator_value": ""}, TypeError, "initial_accumulator_value must be a number"),
    (ic.Adagrad, {"weight_decay": math.inf}, ValueError, "weight_decay must be .* got inf"),
    (ic.Adagrad, {"momentum": 0.9}, TypeError, "momentum"),
    (ic.AdamW, {"lr": math.nan}, ValueError, "lr must be .* got NaN"),
    (ic.AdamW, {"lr": None}, TypeError, "lr must be a number, got None"),
    (ic.AdamW, {"betas": (1.0, 0.9)}, ValueError, r"beta1 must be in \[0, 1\), got 1"),
    (ic.AdamW, {"betas": (0.9, 1.5)}, ValueError, r"beta2 must be in \[0, 1\), got 1.5"),
    (ic.AdamW, {"betas": (0.9, math.nan)}, ValueError, r"beta2 must be in \[0, 1\), got NaN"),
    (ic.AdamW, {"betas": 0.9}, TypeError, f"{BETAS} 0.9"),
    (ic.AdamW, {"betas": (0.9,)}, TypeError, rf"{BETAS} \(0.9,\)"),
    (ic.AdamW, {"eps": -1.0}, ValueError, "eps must be"),
    (ic.AdamW, {"weight_decay": -1.0}, ValueError, "weight_decay must be"),
    (ic.AdamW, {"weight_decay": "1"}, TypeError, "weight_decay must be a number, got '1'"),
    (ic.StepSchedule, {}, TypeError, "every"),
    (ic.StepSchedule, {"every": 0}, ValueError, "every must be finite and above 0, got 0"),
    (ic.StepSchedule, {"every": -1}, ValueError, "every must be finite and above 0, got -1"),
    (ic.StepSchedule, {"every": math.inf}, ValueError, "every must be finite and above 0, got inf"),
    (ic.StepSchedule, {"every": "2"}, TypeError, "every must be a number, got '2'"),
    (ic.StepSchedule, {"every": 1, "factor": 0}, ValueError, "factor must be finite and above 0, got 0"),
    (ic.StepSchedule, {"every": 1, "factor": math.nan}, ValueError, "factor must be .* got NaN"),
    (ic.StepSchedule, {"every": 1, "factor": None}, TypeError, "factor must be a number, got None"),
    (ic.CosineSchedule, {"warmup": -1}, ValueError, "warmup must be finite and at least 0, got -1"),
    (ic.CosineSchedule, {"warmup": math.nan}, ValueError, "warmup must be finite and at least 0, got NaN"),
    (ic.CosineSchedule, {"warmup": None}, TypeError, "warmup must be a number, got None"),
    (ic.CosineSchedule, {"final_factor": -0.1}, ValueError, r"final_factor must be in \[0, 1\], got -0.1"),
    (ic.CosineSchedule, {"final_factor": 1.1}, ValueError, r"final_factor must be in \[0, 1\], got 1.1"),
    (ic.CosineSchedule, {"final_factor": math.nan}, ValueError, r"final_factor must be in \[0, 1\]"),
    (ic.CosineSchedule, {"final_factor": "a"}, TypeError, "final_factor must be a number, got 'a'"),
    (ic.ConstantSchedule, {"factor": 1}, TypeError, "factor"),
]


@pytest.mark.parametrize(("kind", "options", "error", "message"), BAD)
def test_bad_numbers(kind, options, error, message):
    with pytest.raises(error, match=message):
        kind(**options)


SCHEDULES = "schedule must be one of ConstantSchedule, StepSchedule, CosineSchedule, got"
BAD_FITS = [
    ({"clip_norm": 0}, ValueError, "clip_norm must be finite and above 0, got 0"),
    ({"clip_norm": -1.0}, ValueError, "clip_norm must be finite and above 0, got -1"),
    ({"clip_norm": math.nan}, ValueError, "clip_norm must be finite and above 0, got NaN"),
    ({"clip_norm": math.inf}, ValueError, "clip_norm must be finite and above 0, got inf"),
    ({"clip_norm": "1"}, TypeError, "clip_norm must be a number, got '1'"),
    ({"clip_norm": [1]}, TypeError, r"clip_norm must be a number, got \[1\]"),
    ({"schedule": "cosine"}, TypeError, f"{SCHEDULES} str"),
    ({"schedule": ic.CosineSchedule}, TypeError, f"{SCHEDULES} type"),
    ({"schedule": ic.SGD(0.1)}, TypeError, f"{SCHEDULES} SGD"),
    ({"schedule": ic.CosineSchedule(2.5)}, ValueError, "warmup must be at most the 2 epochs .* got 2.5"),
    ({"optimizer": ic.StepSchedule(1)}, TypeError, "one of SGD, .*, AdamW, got StepSchedule"),
    ({"optimizer": ic.AdamW(eps=1e300)}, ValueError, "eps = 1e300 does not fit float32"),
    (
        {"optimizer": ic.Adagrad(initial_accumulator_value=1e39)},
        ValueError,
        "initial_accumulator_value = 1e39 does not fit float32",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_FITS)
def test_bad_fits(options, error, message):
    net = small_network()
    before = bits(net.parameters())
    fit = {"loss": CE, "optimizer": ic.SGD(0.1), "batch_size": 2, "epochs": 2, **options}
    with pytest.raises(error, match=message):
        net.fit(X, LABELS, **fit)
    assert bits(net.parameters()) == before
