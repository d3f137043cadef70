"""Measure how often `ic.diagnose` is right: false alarms, detections, and whether it foretells the training.

Prints the tables of docs/diagnosis.md: python tools/diagnosis_calibration.py [NETWORKS]

1. Sound networks: the scheme that suits the activation (`theory.recommend`, or its uniform twin), many
   widths, depths, data sets. Every verdict but "healthy" is a false alarm.
2. Sick networks: made with one sickness each; the verdict should be its name.
3. Trained networks: after a training that worked, the verdict should still be "healthy".
4. Any networks: weights of random size. Each is trained with four learning rates; what the verdict said
   before is set against whether the best of them learned.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter

import numpy as np
from tqdm import tqdm

import initcore as ic
from initcore import datasets

LOSS = "softmax_cross_entropy"
ACTIVATIONS = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "softsign", "mish")
#: Of the loss of guessing, below which a network has learned.
LEARNED = 0.5


def data(rng):
    """Give inputs and labels of some hundreds of samples."""
    name = rng.choice(["digits", "moons", "circles", "xor", "normal"])
    if name == "normal":
        seed = int(rng.integers(2**32))
        n = int(rng.integers(10, 300))
        return ic.normal((256, n), seed=seed, name="x"), rng.integers(0, 5, 256)
    found = datasets.load(name)
    return found.x_train[:256], found.y_train[:256]


def network(rng, x, t, scale=1.0, depths=(2, 12), widths=(32, 256), activation=None, init=None):
    """Make a network with `scale` times the weights that suit its activation."""
    activation = rng.choice(ACTIVATIONS) if activation is None else activation
    depth, width = int(rng.integers(*depths, endpoint=True)), int(np.exp(rng.uniform(*np.log(widths))))
    if init is None:
        init = ic.get(ic.theory.recommend(activation).scheme)
        if rng.random() < 0.5:
            init = ic.VarianceScaling(**{**init.get_config(), "distribution": "uniform"})
        init = init.scaled(scale)
    sizes = [x.shape[1], *[width] * depth, int(t.max()) + 1]
    return ic.MLP(sizes, activation=activation, init=init, seed=int(rng.integers(2**32)))


def sound(rng):
    x, t = data(rng)
    return "healthy", network(rng, x, t), x, t


def _changed(net, change):
    parameters = net.parameters()
    change(parameters)
    net.set_parameters(parameters)
    return net


def zeros(rng):
    x, t = data(rng)
    return (
        "zero trap",
        network(rng, x, t, init="zeros", activation=rng.choice(["relu", "tanh", "gelu"])),
        x,
        t,
    )


def constant(rng):
    x, t = data(rng)
    return (
        "symmetric",
        network(rng, x, t, init=f"constant({rng.uniform(0.01, 0.3)})", widths=(8, 64), depths=(1, 4)),
        x,
        t,
    )


def a_pair(rng):
    """Two units of one layer are equal, and so is what is made of them."""
    x, t = data(rng)
    net = network(rng, x, t)
    layer = int(rng.integers(len(net.sizes) - 2))

    def change(p):
        p[f"layers.{layer}.weight"][:, 1] = p[f"layers.{layer}.weight"][:, 0]
        p[f"layers.{layer + 1}.weight"][1] = p[f"layers.{layer + 1}.weight"][0]

    return "symmetric", _changed(net, change), x, t


def too_small(rng):
    """The mean square of signals falls by e^-9 to e^-25 over the hidden layers."""
    x, t = data(rng)
    depth = int(rng.integers(3, 12))
    scale = np.exp(-rng.uniform(9, 25) / 2 / (depth - 1))
    activation = rng.choice(["relu", "tanh", "leaky_relu", "selu"])
    return "vanishing", network(rng, x, t, scale, depths=(depth, depth), activation=activation), x, t


def too_large(rng):
    x, t = data(rng)
    depth = int(rng.integers(3, 12))
    scale = np.exp(rng.uniform(9, 25) / 2 / (depth - 1))
    activation = rng.choice(["relu", "leaky_relu", "elu", "gelu"])
    return "exploding", network(rng, x, t, scale, depths=(depth, depth), activation=activation), x, t


def saturated(rng):
    x, t = data(rng)
    return (
        "saturated",
        network(rng, x, t, rng.uniform(6, 30), activation=rng.choice(["tanh", "softsign"])),
        x,
        t,
    )


def chaotic(rng):
    """Gradients of tanh grow by 1.5 to 2.2 in square per layer, over enough layers for e^9."""
    x, t = data(rng)
    sigma = rng.uniform(1.8, 2.5)
    chi = ic.theory.chi("tanh", ic.theory.fixed_point("tanh", sigma**2, 0.0).q, sigma**2)
    depth = int(np.ceil(9 / np.log(chi))) + 1
    return (
        "chaotic",
        network(rng, x, t, sigma, depths=(depth, depth), widths=(100, 256), activation="tanh"),
        x,
        t,
    )


def dead(rng):
    x, t = data(rng)
    net = network(rng, x, t, activation="relu", widths=(64, 256))
    layer = int(rng.integers(len(net.sizes) - 2))

    def change(p):
        p[f"layers.{layer}.bias"][:] = -rng.uniform(6, 12)

    return "dead", _changed(net, change), x, t


SICK = (zeros, constant, a_pair, too_small, too_large, saturated, chaotic, dead)


def trained(net, x, t, lr, epochs):
    """Train; give the last loss over that of guessing, infinite if it diverged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        history = net.fit(x, t, loss=LOSS, optimizer=ic.SGD(lr), batch_size=32, epochs=epochs, progress=False)
    shares = np.bincount(t) / len(t)
    guess = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    return np.inf if history.diverged else net.evaluate(x, t, loss=LOSS)[0] / guess


def size(report):
    """Give the bin of the largest change of log A and log D over the network, as the verdicts have them."""
    layers = report.layers
    with np.errstate(divide="ignore"):
        d = 2 * np.log(layers[0].gradient_norm / layers[-2].gradient_norm)
        a = np.log([layer.mean_square for layer in layers])
    changes = [d, a[:-1].min() - a[0], a.max() - np.log(report.inputs.mean_square)]
    return min(int(np.nan_to_num(np.abs(changes), nan=np.inf).max() // 3), 4)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines)


def main(count=400, seed=0):
    rng = np.random.default_rng(seed)
    text = []

    found = Counter()
    alarms = []
    for _ in tqdm(range(count), desc="sound"):
        _, net, x, t = sound(rng)
        report = ic.diagnose(net, x, t if rng.random() < 0.5 else None)
        found[report.verdict] += 1
        if not report.healthy:
            alarms.append((net.activation, net.sizes[1], len(net.sizes) - 1, report.verdict, report.reason))
    for alarm in alarms:
        print(*alarm)
    text.append(f"Sound networks: {count - found['healthy']} false alarms among {count}.")

    rows = []
    for make in SICK:
        found = Counter()
        for _ in tqdm(range(max(count // len(SICK), 1)), desc=make.__name__):
            name, net, x, t = make(rng)
            found[ic.diagnose(net, x, t if rng.random() < 0.5 else None).verdict] += 1
        others = ", ".join(f"{v} {n}" for v, n in found.most_common() if v != name)
        rows.append([make.__name__.replace("_", " "), name, f"{found[name]} of {found.total()}", others])
    text.append(table(["made", "expected", "found", "other verdicts"], rows))

    digits = datasets.load("digits")
    x, t = digits.x_train, digits.y_train
    found = Counter()
    for _ in tqdm(range(count // 4), desc="trained"):
        net = network(rng, x, t, widths=(32, 128), depths=(1, 6))
        if trained(net, x, t, 0.05, 20) < LEARNED:
            report = ic.diagnose(net, x[:256], t[:256])
            found[report.verdict] += 1
            if not report.healthy:
                print(net.activation, net.sizes, report.reason)
    alarms = found.total() - found["healthy"]
    text.append(f"After a training that worked: {alarms} false alarms among {found.total()}.")

    outcome, by_size = Counter(), Counter()
    for _ in tqdm(range(count), desc="any"):
        scale = np.exp(rng.uniform(np.log(0.2), np.log(5)))
        net = network(rng, x, t, scale, depths=(1, 20), widths=(16, 64))
        start = net.parameters()
        report = ic.diagnose(net, x[:256], t[:256])
        best = np.inf
        for lr in (0.3, 0.1, 0.03, 0.01):
            net.set_parameters(start)
            best = min(best, trained(net, x, t, lr, 10))
        outcome[report.verdict, best < LEARNED] += 1
        by_size[size(report), best < LEARNED] += 1
    names = [v for v in ic.diagnosis.VERDICTS if outcome[v, True] + outcome[v, False]]
    rows = [[v, outcome[v, True], outcome[v, False]] for v in names]
    text.append(table(["verdict before", "learned", "did not learn"], rows))
    bins = ["0 to 3", "3 to 6", "6 to 9", "9 to 12", "12 and more"]
    rows = [[b, by_size[i, True], by_size[i, False]] for i, b in enumerate(bins)]
    text.append(table(["largest change of a log mean square", "learned", "did not learn"], rows))
    print("\n\n".join(text))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
