"""What every library does in the dense benchmarks, and what has to come out: networks, data, checks.

initcore draws the initial weights for all. Before a case is measured, its library takes one step from them
on the first batch, which has to move the parameters as NumPy's float64 does: what does not do the work is
not measured.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

import dense_numpy
import peers
from dense_numpy import Layers

LR = 1e-3


@dataclass(frozen=True)
class Network:
    """A network with relu hidden layers, and the batches that one pass goes over."""

    sizes: tuple[int, ...]
    batch: int
    steps: int

    def __str__(self) -> str:
        """Write its shape."""
        return f"{'-'.join(map(str, self.sizes))}, batch {self.batch}"

    @property
    def loss(self) -> str:
        """The name of its loss."""
        return "binary_cross_entropy" if self.sizes[-1] == 1 else "softmax_cross_entropy"

    @property
    def parameters(self) -> int:
        """The number of its weights and biases."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(self.sizes))

    def layers(self, seed: int = 0) -> Layers:
        """Draw the initial weights; biases are zero."""
        import initcore as ic

        shapes = list(itertools.pairwise(self.sizes))
        names = [f"layers.{i}.weight" for i in range(len(shapes))]  # those of an ic.MLP
        return [
            [ic.he_normal(shape, seed=seed, name=name, num_threads=1), np.zeros(shape[1], np.float32)]
            for shape, name in zip(shapes, names, strict=True)
        ]

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (steps, batch, features) and targets (steps, batch) of no meaning."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.steps, self.batch, self.sizes[0]), np.float32)
        t = rng.integers(0, max(2, self.sizes[-1]), (self.steps, self.batch))
        return x, t.astype(np.float32) if self.sizes[-1] == 1 else t


# About a second of work for the largest; their data are 1, 16, 80, 40 and 17 MB.
NETWORKS = (
    Network((2, 2, 1), 64, 500),
    Network((64, 128, 10), 128, 500),
    Network((784, 256, 128, 10), 128, 200),
    Network((784, 512, 512, 512, 512, 10), 256, 50),
    Network((1024, 2048, 2048, 1024), 1024, 4),
)
PRODUCTS = (512, 1024, 2048)
MNIST = Network((784, 256, 128, 10), 128, 32)
EPOCHS = 15  # enough for 93 % of the test digits


@dataclass(frozen=True)
class Plan:
    """What is to be done by all."""

    networks: Sequence[Network] = NETWORKS
    products: Sequence[int] = PRODUCTS
    seeds: Sequence[int] = (0, 1, 2)


QUICK = Plan([Network(n.sizes, n.batch, max(2, n.steps // 10)) for n in NETWORKS[:4]], PRODUCTS[:1], (0,))

Parameters = Callable[[], Layers]  # reads them out
Pass = Callable[[], Parameters]  # goes over all batches once


@dataclass(frozen=True)
class Training(peers.Case):
    """A pass over the batches of a network, one step after the other; returns how to read the parameters."""

    steps: int = 1

    def check(self, result: Parameters) -> int:
        """Refuse parameters that are not finite; return the number of steps."""
        if not np.isfinite(dense_numpy.flat(result())).all():
            raise ValueError(f"{self.work}, {self.method}: parameters are not finite")
        return self.steps


def trainings(
    kind: str,
    network: Network,
    method: str,
    make: Callable[[np.ndarray, np.ndarray], Pass],
    threads: int | None,
) -> Iterator[Training]:
    """Check the first step of what `make` makes of data, and give the case."""
    x, t = network.data
    before, expected = network.layers(), network.layers()
    for layer in expected:
        layer[:] = [parameter.astype(np.float64) for parameter in layer]
    step = {"SGD": dense_numpy.sgd_step, "Adam": dense_numpy.adam_first_step}[kind]
    step(expected, x[0].astype(np.float64), t[0], LR)
    found = make(x[:1], t[:1])()()
    start, end = dense_numpy.flat(before), dense_numpy.flat(expected)
    error = np.linalg.norm(dense_numpy.flat(found) - end) / np.linalg.norm(end - start)
    # Adam's first step is a sign: rounding turns those of the gradients that are next to nothing.
    if not error < {"SGD": 0.01, "Adam": 0.05}[kind]:
        raise ValueError(f"{kind}, {network}, {method}: the first step is wrong by {error:.2g} of it")
    yield Training(f"{kind} step, {network}", method, make(x, t), threads, steps=network.steps)


@dataclass(frozen=True)
class Forward(peers.Case):
    """The outputs of every batch of a network; returns those of the last."""

    network: Network = NETWORKS[0]

    def check(self, result: object) -> int:
        """Compare with NumPy's float64; return the number of batches."""
        layers = [[p.astype(np.float64) for p in layer] for layer in self.network.layers()]
        expected = dense_numpy.forward(layers, self.network.data[0][-1].astype(np.float64))[-1]
        refuse_wrong(self, np.asarray(result), expected)
        return self.network.steps


@dataclass(frozen=True)
class Product(peers.Case):
    """A matrix product."""

    factors: tuple[np.ndarray, np.ndarray] = ()

    def check(self, result: object) -> int:
        """Compare some rows with NumPy's float64; return the number of operations."""
        a, b = self.factors
        rows = slice(None, None, 61)
        refuse_wrong(self, np.asarray(result)[rows], a[rows].astype(np.float64) @ b.astype(np.float64))
        return 2 * len(a) ** 3


def refuse_wrong(case: peers.Case, found: np.ndarray, expected: np.ndarray) -> None:
    """Raise an error unless two results are the same but for rounding."""
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    if not error < 1e-5:
        raise ValueError(f"{case.work}, {case.method}: wrong by {error:.2g} of the result")


def products(plan: Plan) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Give the name and the factors of every product."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for n in plan.products:
            a, b = rng.standard_normal((2, n, n), dtype)
            yield f"product, n = {n}, {np.dtype(dtype).name}", a, b


@dataclass(frozen=True)
class Digits(peers.Case):
    """A whole training on MNIST, from another seed every time."""

    # Trains, and returns the seconds it took and what gives the logits of the test digits, (1000, 10).
    train: Callable[[int], tuple[float, Callable[[], np.ndarray]]] = None
    labels: np.ndarray = None
    seeds: deque[int] = None
    compile_seconds: float = 0.0

    def check(self, result: tuple[float, Callable[[], np.ndarray]]) -> int:
        """Refuse a training that teaches nothing; return 1."""
        if not self.accuracy(result) > 0.9:
            raise ValueError(f"{self.work}, {self.method}: accuracy {self.accuracy(result)}")
        return 1

    def accuracy(self, result: tuple[float, Callable[[], np.ndarray]]) -> float:
        """Return the share of the test digits that it gets right."""
        return float((result[1]().argmax(axis=1) == self.labels).mean())

    def warm_up(self) -> dict[str, object]:
        """Train once."""
        units = self.check(self.call())
        shown = {"work": self.work, "method": self.method, "threads": self.threads}
        return shown | {"units": units, "number": 1}

    def answer(self, number: int) -> dict[str, float]:  # noqa: ARG002
        """Train once, from the seed whose turn it is."""
        seed = self.seeds[0]
        self.seeds.rotate(-1)
        result = self.train(seed)
        return {
            "seconds": result[0],
            "seed": seed,
            "accuracy": self.accuracy(result),
            "compile_seconds": self.compile_seconds,
        }


def digits(
    plan: Plan,
    method: str,
    train: Callable[[int], tuple[float, Callable[[], np.ndarray]]],
    labels: np.ndarray,
    threads: int | None,
    compile_seconds: float = 0.0,
) -> Digits:
    """Give the case of a training on MNIST."""
    return Digits(
        "MNIST",
        method,
        partial(train, plan.seeds[0]),
        threads,
        train=train,
        labels=labels,
        seeds=deque(plan.seeds),
        compile_seconds=compile_seconds,
    )
