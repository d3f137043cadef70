"""One library's dense core in a process of its own, measured on request: ``dense_table.py`` starts them.

The number of threads is the process's: ``dense_table.py`` sets it in the environment. What everybody has to
do, and what has to come out, is in ``dense_work.py``.
"""

import itertools
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from importlib import metadata

import numpy as np

import dense_numpy
import peers
from dense_numpy import Layers
from dense_work import (
    EPOCHS,
    LR,
    MNIST,
    NETWORKS,
    QUICK,
    Forward,
    Network,
    Pass,
    Plan,
    Product,
    digits,
    products,
    trainings,
)

# The same for every optimizer of PyTorch.
FLAGS = {"default": {}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def initcore(plan: Plan, threads: int) -> Iterator[peers.Case | str]:
    import initcore as ic
    from initcore import datasets

    yield peers.describe_initcore()
    optimizers = {"SGD": ic.SGD(LR), "Adam": ic.Adam(LR)}

    def fit(network: Network, optimizer: object, x: np.ndarray, t: np.ndarray) -> Pass:
        net = ic.MLP(network.sizes, seed=0)
        x, t = x.reshape(-1, network.sizes[0]), t.reshape(-1)
        arguments = {"loss": network.loss, "optimizer": optimizer, "batch_size": network.batch}

        def layers() -> Layers:
            values = iter(net.parameters().values())
            return [list(layer) for layer in zip(values, values, strict=True)]

        def run() -> object:
            net.fit(x, t, epochs=1, progress=False, **arguments)
            return layers

        return run

    for network in plan.networks:
        for kind, optimizer in optimizers.items():
            yield from trainings(kind, network, "fit", partial(fit, network, optimizer), threads)
        net, batches = ic.MLP(network.sizes, seed=0), list(network.data[0])

        def forward(net: ic.MLP = net, batches: list[np.ndarray] = batches) -> np.ndarray:
            for x in batches:
                y = net.forward(x)
            return y

        yield Forward(f"forward, {network}", "forward", forward, threads, network=network)

    for work, a, b in products(plan):
        call = partial(product_of_initcore, a, b)
        yield Product(work, 'dense_forward(x, w, None, "linear")', call, threads, factors=(a, b))

    data = datasets.load("mnist")

    def train(seed: int) -> tuple[float, object]:
        net = ic.MLP(MNIST.sizes, seed=seed)
        start = time.perf_counter()
        net.fit(
            data.x_train,
            data.y_train,
            loss=MNIST.loss,
            optimizer=optimizers["Adam"],
            batch_size=MNIST.batch,
            epochs=EPOCHS,
            seed=seed,
            progress=False,
        )
        return time.perf_counter() - start, partial(net.forward, data.x_test)

    yield digits(plan, "fit", train, data.y_test, threads)


def product_of_initcore(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    import initcore as ic

    return ic.dense_forward(a, b, None, "linear")[0]


def pytorch(plan: Plan, threads: int) -> Iterator[peers.Case | str]:
    import torch
    from torch.nn import functional

    from initcore import datasets

    torch.set_num_threads(threads)
    yield f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    optimizers = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}

    def module(network: Network, seed: int = 0) -> torch.nn.Sequential:
        modules = []
        for w, b in network.layers(seed):
            linear = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(w.T))
                linear.bias.copy_(torch.from_numpy(b))
            modules += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*modules[:-1])

    def loss_of(network: Network) -> object:
        is_binary = network.loss == "binary_cross_entropy"
        return functional.binary_cross_entropy_with_logits if is_binary else functional.cross_entropy

    def epoch(network: Network, kind: str, flags: dict[str, bool], x: np.ndarray, t: np.ndarray) -> Pass:
        net, loss = module(network), loss_of(network)
        optimizer = optimizers[kind](net.parameters(), lr=LR, **flags)
        if network.sizes[-1] == 1:
            t = t[..., None]
        batches = list(zip(torch.from_numpy(x), torch.from_numpy(t), strict=True))

        def layers() -> Layers:
            return [[m.weight.detach().numpy().T, m.bias.detach().numpy()] for m in net[::2]]

        def run() -> object:
            for rows, labels in batches:
                optimizer.zero_grad(set_to_none=True)
                loss(net(rows), labels).backward()
                optimizer.step()
            return layers

        return run

    for network in plan.networks:
        for kind, (method, flags) in itertools.product(optimizers, FLAGS.items()):
            make = partial(epoch, network, kind, flags)
            yield from trainings(kind, network, f"{kind}, {method}", make, threads)
        net, batches = module(network), list(torch.from_numpy(network.data[0]))

        def forward(net: torch.nn.Module = net, batches: list[torch.Tensor] = batches) -> torch.Tensor:
            with torch.inference_mode():
                for x in batches:
                    y = net(x)
            return y

        yield Forward(f"forward, {network}", "inference_mode", forward, threads, network=network)

    for work, *factors in products(plan):
        a, b = map(torch.from_numpy, factors)
        call = partial(torch.mm, a, b, out=torch.empty_like(a))
        yield Product(work, "mm(out=)", call, threads, factors=factors)

    data = datasets.load("mnist")
    x, t, x_test = map(torch.from_numpy, (data.x_train, data.y_train, data.x_test))

    def train(flags: dict[str, bool], seed: int) -> tuple[float, object]:
        net = module(MNIST, seed)
        optimizer = torch.optim.Adam(net.parameters(), lr=LR, **flags)
        torch.manual_seed(seed)
        start = time.perf_counter()
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(MNIST.batch):
                optimizer.zero_grad(set_to_none=True)
                functional.cross_entropy(net(x.index_select(0, rows)), t.index_select(0, rows)).backward()
                optimizer.step()
        return time.perf_counter() - start, lambda: net(x_test).detach().numpy()

    for method, flags in FLAGS.items():
        yield digits(plan, f"Adam, {method}", partial(train, flags), data.y_test, threads)


def numpy(plan: Plan, threads: int) -> Iterator[peers.Case | str]:
    yield f"numpy {np.__version__}"

    def epoch(network: Network, x: np.ndarray, t: np.ndarray) -> Pass:
        layers = network.layers()

        def run() -> object:
            for rows, labels in zip(x, t, strict=True):
                dense_numpy.sgd_step(layers, rows, labels, LR)
            return lambda: layers

        return run

    for network in plan.networks:
        yield from trainings("SGD", network, "by hand", partial(epoch, network), threads)
        layers, batches = network.layers(), list(network.data[0])

        def forward(layers: Layers = layers, batches: list[np.ndarray] = batches) -> np.ndarray:
            for x in batches:
                y = dense_numpy.forward(layers, x)[-1]
            return y

        yield Forward(f"forward, {network}", "by hand", forward, threads, network=network)

    for work, a, b in products(plan):
        call = partial(np.matmul, a, b, out=np.empty_like(a))
        yield Product(work, "matmul(out=)", call, threads, factors=(a, b))


def jax(plan: Plan, threads: int) -> Iterator[peers.Case | str]:
    import jax
    from jax import lax
    from jax import numpy as jnp

    from initcore import datasets

    yield f"jax {jax.__version__}, {jax.default_backend()}"
    tree, ready = jax.tree, jax.block_until_ready

    def forward(params: object, x: object) -> object:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    def loss(params: object, x: object, t: object) -> object:
        z = forward(params, x)
        if z.shape[1] == 1:
            z = z[:, 0]
            return jnp.mean(jax.nn.softplus(z) - z * t)
        # Not take_along_axis: XLA compiles its gradient to a serial scatter.
        picked = jnp.sum(z * jax.nn.one_hot(t, z.shape[1]), axis=1)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - picked)

    def sgd(params: object, batch: object) -> object:
        value, gradients = jax.value_and_grad(loss)(params, *batch)
        return tree.map(lambda p, g: p - LR * g, params, gradients), value

    def initial(network: Network, seed: int = 0) -> object:
        return tree.map(jnp.array, network.layers(seed))

    def by_steps(network: Network, donate: bool, block: bool, x: np.ndarray, t: np.ndarray) -> Pass:
        step = jax.jit(sgd, donate_argnums=(0,) if donate else ())
        batches = [(jnp.array(rows), jnp.array(labels)) for rows, labels in zip(x, t, strict=True)]
        params = initial(network)

        def run() -> object:
            nonlocal params
            for batch in batches:
                params, value = step(params, batch)
                if block:
                    ready(value)
            ready(params)
            return lambda: tree.map(np.array, params)

        return run

    def by_scan(network: Network, x: np.ndarray, t: np.ndarray) -> Pass:
        epoch = jax.jit(partial(lax.scan, sgd), donate_argnums=(0,))
        params, batches = initial(network), (jnp.array(x), jnp.array(t))

        def run() -> object:
            nonlocal params
            params, _ = ready(epoch(params, batches))
            return lambda: tree.map(np.array, params)

        return run

    for network in plan.networks:
        for donate, block in itertools.product((False, True), (True, False)):
            method = "jit(step)" + ", donated" * donate + ", waits for every step" * block
            make = partial(by_steps, network, donate, block)
            yield from trainings("SGD", network, method, make, threads)
        yield from trainings("SGD", network, "jit(lax.scan), donated", partial(by_scan, network), threads)

        params, batches = initial(network), list(map(jnp.array, network.data[0]))
        outputs = jax.jit(forward)

        def over(block: bool, outputs=outputs, params=params, batches=batches) -> object:
            for x in batches:
                y = outputs(params, x)
                if block:
                    ready(y)
            return ready(y)

        for block in (True, False):
            method = "jit(forward)" + ", waits for every batch" * block
            yield Forward(f"forward, {network}", method, partial(over, block), threads, network=network)

    data = datasets.load("mnist")
    x, t = jnp.array(data.x_train), jnp.array(data.y_train)
    batch, whole = MNIST.batch, len(x) - len(x) % MNIST.batch

    def adam(carry: object, rows: object) -> object:
        params, m, v, n = carry
        g = jax.grad(loss)(params, x[rows], t[rows])
        n += 1
        m = tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        scale, root = LR / (1 - 0.9**n), 1 / jnp.sqrt(1 - 0.999**n)
        params = tree.map(lambda p, m, v: p - scale * m / (root * jnp.sqrt(v) + 1e-8), params, m, v)
        return (params, m, v, n), None

    def whole_epoch(carry: object, order: object) -> object:
        carry, _ = lax.scan(adam, carry, order[:whole].reshape(-1, batch))
        return adam(carry, order[whole:]) if whole < len(order) else (carry, None)

    def start(seed: int) -> object:
        params = initial(MNIST, seed)
        zeros = partial(tree.map, jnp.zeros_like)
        return ready((params, zeros(params), zeros(params), jnp.float32(0)))

    def train(function: object, size: int, seed: int) -> tuple[float, object]:
        carry, rng = start(seed), np.random.default_rng(seed)
        begin = time.perf_counter()
        for _ in range(EPOCHS):
            order = rng.permutation(len(x)).astype(np.int32)
            for i in range(0, len(order), size):
                carry, _ = function(carry, order[i : i + size])
        ready(carry)
        return time.perf_counter() - begin, lambda: np.array(forward(carry[0], data.x_test))

    def compile_seconds(function: object, sizes: set[int]) -> float:
        carry, begin = start(0), time.perf_counter()
        for size in sizes:
            function.lower(carry, np.arange(size, dtype=np.int32)).compile()
        return time.perf_counter() - begin

    step, epoch = (jax.jit(f, donate_argnums=(0,)) for f in (adam, whole_epoch))
    for method, function, size, sizes in (
        ("jit(step), donated", step, batch, {batch, len(x) - whole} - {0}),
        ("jit(lax.scan) for an epoch, donated", epoch, len(x), {len(x)}),
    ):
        compiling = compile_seconds(function, sizes)
        yield digits(plan, method, partial(train, function, size), data.y_test, threads, compiling)


def scikit_learn(plan: Plan, threads: int) -> Iterator[peers.Case | str]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    from initcore import datasets

    yield f"scikit-learn {metadata.version('scikit-learn')}"
    warnings.simplefilter("ignore", ConvergenceWarning)  # it would train for longer
    data = datasets.load("mnist")

    class Given(MLPClassifier):
        """With initial weights from outside; scikit-learn has no argument for them."""

        def _init_coef(self, fan_in: int, fan_out: int, dtype: object) -> tuple[np.ndarray, np.ndarray]:
            w, b = next(self.layers)
            assert w.shape == (fan_in, fan_out), w.shape
            return w.astype(dtype), b.astype(dtype)

    def train(seed: int) -> tuple[float, object]:
        net = Given(
            MNIST.sizes[1:-1],
            alpha=0.0,
            batch_size=MNIST.batch,
            learning_rate_init=LR,
            max_iter=EPOCHS,
            n_iter_no_change=EPOCHS,
            random_state=seed,
        )
        net.layers = iter(MNIST.layers(seed))
        begin = time.perf_counter()
        net.fit(data.x_train, data.y_train)
        seconds = time.perf_counter() - begin
        if net.n_iter_ != EPOCHS:
            raise ValueError(f"scikit-learn ended after {net.n_iter_} epochs")
        return seconds, partial(net.predict_proba, data.x_test)

    yield digits(plan, "MLPClassifier", train, data.y_test, threads)


LIBRARIES = {
    "initcore": initcore,
    "PyTorch": pytorch,
    "JAX": jax,
    "NumPy": numpy,
    "scikit-learn": scikit_learn,
}


def extra_memory(kind: str) -> None:
    """Print by how many bytes the peak of the memory grows in a fit of the largest network (Linux)."""
    import initcore as ic

    network, optimizer = NETWORKS[-1], {"SGD": ic.SGD(LR), "Adam": ic.Adam(LR)}[kind]
    x, t = (array.reshape(-1, *array.shape[2:]) for array in network.data)

    def fit(sizes: tuple[int, ...], rows: int) -> None:
        arguments = {"loss": network.loss, "optimizer": optimizer, "batch_size": network.batch}
        ic.MLP(sizes, seed=0).fit(x[:rows, : sizes[0]], t[:rows] % sizes[-1], epochs=1, **arguments)

    fit((64, 64, 64), 2 * network.batch)  # the code itself is read into memory at its first use
    print(peers.peak_growth(partial(fit, network.sizes, len(x))))


if __name__ == "__main__":
    what, argument = sys.argv[1:3]
    if what == "memory":
        extra_memory(argument)
    else:
        plan = QUICK if sys.argv[3] == "quick" else Plan()
        peers.serve(what, partial(LIBRARIES[what], plan, int(argument)))
