"""Writes tests/vectors/optimizers_torch.json: trainings by PyTorch's own optimizers, in float64.

Run with ``python tools/torch_fixtures/optimizers.py`` (needs torch). Every option that changes an optimizer's
rule is there, and schedules and gradient clipping; each case takes 100 steps of one small network from one
beginning. No training is chaotic: a change of the beginning by 1e-9 stays below 1e-6, so that results that
differ by more than rounding come from a rule that differs.
"""

import json
import math
from itertools import pairwise
from pathlib import Path

import torch

SIZES, ROWS, STEPS = (3, 5, 2), 18, 100
OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "Adagrad": torch.optim.Adagrad,
    "RMSProp": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}
RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.05, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.05, "eps": 1e-2}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.05}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"lr": 0.1, "weight_decay": 0.05}),
    ("Adagrad", {"lr": 0.2, "lr_decay": 0.1, "initial_accumulator_value": 0.1, "weight_decay": 0.01}),
    ("RMSProp", {"lr": 0.002}),
    ("RMSProp", {"lr": 0.003, "alpha": 0.9, "eps": 1e-3}),
    ("RMSProp", {"lr": 0.005, "weight_decay": 0.05}),
    ("RMSProp", {"lr": 0.002, "momentum": 0.9}),
    ("RMSProp", {"lr": 0.005, "centered": True}),
    ("RMSProp", {"lr": 0.002, "momentum": 0.8, "weight_decay": 0.02}),
    ("RMSProp", {"lr": 0.001, "momentum": 0.9, "centered": True}),
    ("RMSProp", {"lr": 0.001, "momentum": 0.7, "centered": True, "weight_decay": 0.02}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95)}),
    ("Adam", {"lr": 0.003, "betas": (0.0, 0.9)}),
    ("Adam", {"lr": 0.02, "eps": 1e-2}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-4, "weight_decay": 0.0}),
]
MOMENTUM = ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
ADAM, ADAM_W = ("Adam", {"lr": 0.02}), ("AdamW", {"lr": 0.02, "weight_decay": 0.2})
ADAGRAD, RMSPROP = ("Adagrad", {"lr": 0.1, "lr_decay": 0.01}), ("RMSProp", {"lr": 0.002, "momentum": 0.5})


def cosine(warmup, steps, final):
    """Give the factor of step k: (k + 1) / warmup, then half a cosine."""

    def factor(k):
        if k < warmup:
            return (k + 1) / warmup
        return final + (1 - final) * (1 + math.cos(math.pi * (k - warmup) / (steps - warmup))) / 2

    return factor


def step_lr(every, factor):
    return lambda o: torch.optim.lr_scheduler.StepLR(o, every, factor)


def annealing(lr, final):
    return lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS, final * lr)


def warm(warmup, final):
    return lambda o: torch.optim.lr_scheduler.LambdaLR(o, cosine(warmup, STEPS, final))


# Rule, rows per batch, what the norm is clipped to, the schedule as initcore has it, and PyTorch's. Batches
# of 5 make 4 steps per epoch, the last one of 3 rows; PyTorch's schedules then step with every batch.
STEP_10, WARM_10 = ("StepSchedule", {"every": 10, "factor": 0.6}), {"warmup": 10, "final_factor": 0.05}
SCHEDULED = [
    *((rule, 18, None, STEP_10, step_lr(10, 0.6)) for rule in (MOMENTUM, ADAGRAD, RMSPROP, ADAM, ADAM_W)),
    *((rule, 18, None, ("CosineSchedule", WARM_10), warm(10, 0.05)) for rule in (MOMENTUM, ADAM, ADAM_W)),
    (ADAM, 18, None, ("CosineSchedule", {}), annealing(0.02, 0.0)),
    (MOMENTUM, 18, None, ("CosineSchedule", {"final_factor": 0.3}), annealing(0.1, 0.3)),
    (MOMENTUM, 18, None, ("ConstantSchedule", {}), None),
    (ADAM, 5, None, ("StepSchedule", {"every": 0.75, "factor": 0.9}), step_lr(3, 0.9)),
    (ADAM, 5, None, ("CosineSchedule", {"warmup": 2.5}), warm(10, 0.0)),
    *((rule, 18, 0.3, None, None) for rule in (MOMENTUM, ADAGRAD, RMSPROP, ADAM, ADAM_W)),
    (MOMENTUM, 5, 1.5, ("CosineSchedule", {"warmup": 1.25, "final_factor": 0.1}), warm(5, 0.1)),
]


def noise(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


GENERATOR = torch.Generator().manual_seed(1)
X, T = noise(ROWS, SIZES[0]), noise(ROWS, SIZES[-1])
INITIAL = {}
for i, (fan_in, fan_out) in enumerate(pairwise(SIZES)):
    INITIAL[f"layers.{i}.weight"] = noise(fan_in, fan_out) / fan_in**0.5
    INITIAL[f"layers.{i}.bias"] = 0.1 * noise(fan_out)


def run(rule, batch_size, clip_norm, scheduler, shift=0.0):
    """Give the flat parameters and the mean gradient norm of every epoch."""
    name, options = rule
    parameters = [(p + shift).requires_grad_() for p in INITIAL.values()]
    optimizer = OPTIMIZERS[name](parameters, **options, foreach=False)
    scheduler = scheduler(optimizer) if scheduler else None
    values, norms = [], []
    for _ in range(STEPS // math.ceil(ROWS / batch_size)):
        seen = []
        for x, t in zip(X.split(batch_size), T.split(batch_size), strict=True):
            w1, b1, w2, b2 = parameters
            loss = torch.nn.functional.mse_loss(torch.tanh(x @ w1 + b1) @ w2 + b2, t)
            optimizer.zero_grad()
            loss.backward()
            limit = math.inf if clip_norm is None else clip_norm
            seen.append(torch.nn.utils.clip_grad_norm_(parameters, limit).item())
            optimizer.step()
            if scheduler:
                scheduler.step()
        norms.append(sum(seen) / len(seen))
        values.append(torch.cat([p.detach().flatten() for p in parameters]))
    return values, norms


def case(rule, batch_size, clip_norm, schedule, scheduler):
    """Give a case: its arguments, parameters after some epochs, the first and last norms before clipping."""
    name, options = rule
    values, norms = run(rule, batch_size, clip_norm, scheduler)
    shifted, _ = run(rule, batch_size, clip_norm, scheduler, shift=1e-9)
    assert all((a - b).abs().max() < 1e-6 for a, b in zip(values, shifted, strict=True)), rule
    assert clip_norm is None or min(norms) < clip_norm < max(norms)
    epochs = len(values)
    return {
        "optimizer": name,
        "options": options,
        "batch_size": batch_size,
        "epochs": epochs,
        "clip_norm": clip_norm,
        "schedule": schedule,
        "parameters": {epoch: values[epoch - 1].tolist() for epoch in (1, 10, epochs)},
        "gradient_norm": [norms[0], norms[-1]],
    }


def main():
    cases = [(rule, ROWS, None, None, None) for rule in RULES] + SCHEDULED
    data = {
        "torch": torch.__version__,
        "sizes": SIZES,
        "x": X.tolist(),
        "t": T.tolist(),
        "initial": {name: value.tolist() for name, value in INITIAL.items()},
        "cases": [case(*arguments) for arguments in cases],
    }
    path = Path(__file__).parents[2] / "tests" / "vectors" / "optimizers_torch.json"
    # One line per case.
    text = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in data.items())
    path.write_text("{\n" + text.replace('}, {"optimizer"', '},\n{"optimizer"') + "\n}\n")


if __name__ == "__main__":
    main()
