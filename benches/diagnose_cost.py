"""What a diagnosis costs beside the pass that it looks on: ``python benches/diagnose_cost.py``.

Calls of both take turns, so that what else runs on the machine slows both; a cost is the fastest of them.
"""

import argparse
import time

import numpy as np

import initcore as ic

LOSS = "softmax_cross_entropy"
# Sizes, rows of a batch, calls.
CASES = [
    ([64, 128, 10], 128, 2000),
    ([784, 256, 128, 10], 128, 400),
    ([784, 512, 512, 512, 512, 10], 256, 60),
    ([1024, 2048, 2048, 1024], 1024, 5),
]


def costs(sizes, batch, calls, init, threads):
    """Give the seconds of loss and gradients and of a diagnosis, in the core, and of the public calls."""
    net = ic.MLP(sizes, activation="relu", init=init, seed=0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, sizes[0])).astype(np.float32)
    t = rng.integers(0, sizes[-1], batch)
    samples = net._samples(x, t, LOSS, None)
    thresholds = [0.05] * (len(sizes) - 1)
    work = [
        lambda: net._core.loss_and_grad(samples, LOSS, threads),
        lambda: net._core.diagnose(samples, LOSS, thresholds, None, threads),
        lambda: net.loss_and_grad(x, t, loss=LOSS, num_threads=threads),
        lambda: ic.diagnose(net, x, t, num_threads=threads),
    ]
    best = [np.inf] * len(work)
    for _ in range(calls):
        for i, call in enumerate(work):
            begin = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - begin)
    return best


def outside(depth):
    """Give the seconds that Python spends around the core, and those of the theory, for this many layers."""
    net = ic.MLP([*[32] * depth, 10], activation="relu", init="he_normal", seed=0)
    x, t = ic.normal((64, 32), seed=0), np.arange(64) % 10
    samples, thresholds = net._samples(x, t, LOSS, None), [0.05] * depth
    best = [np.inf] * 3
    for seed in range(100):
        begin = time.perf_counter()
        net._core.diagnose(samples, LOSS, thresholds, None, None)
        core = time.perf_counter()
        ic.diagnose(net, x, t)
        times = [core - begin, time.perf_counter() - core]
        if seed < 8:  # of a new network each time, since laws that were computed are kept
            net_of_seed = ic.MLP([*[32] * depth, 10], init="he_normal", seed=seed + 1)
            report = ic.diagnose(net_of_seed, x, t)
            begin = time.perf_counter()
            _ = report.layers[0].expected
            times.append(time.perf_counter() - begin)
        best = [min(pair) for pair in zip(best, [*times, np.inf][:3], strict=True)]
    return best[1] - best[0], best[2]


def main():
    """Print a row for each network and number of threads, and what stands around the core by depth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--init", default="he_normal", help="initialization of the networks")
    parser.add_argument("--repeat", type=float, default=1.0, help="multiplies the numbers of calls")
    arguments = parser.parse_args()
    head = f"{'network':34} {'batch':>5} {'threads':>7} {'pass us':>9} {'diagnosis us':>12}"
    print(f"{head} {'ratio':>6} {'public':>6}")
    for sizes, batch, calls in CASES:
        name = "-".join(map(str, sizes))
        for threads in (1, 2):
            count = max(1, round(calls * arguments.repeat))
            one, both, *public = costs(sizes, batch, count, arguments.init, threads)
            print(
                f"{name:34} {batch:5} {threads:7} {one * 1e6:9.0f} {both * 1e6:12.0f} {both / one:6.2f} "
                f"{public[1] / public[0]:6.2f}"
            )
    print(f"\n{'layers':>6} {'Python us':>9} {'theory ms':>9}")
    for depth in (2, 5, 10, 20):
        around, theory = outside(depth)
        print(f"{depth:6} {around * 1e6:9.0f} {theory * 1e3:9.1f}")


if __name__ == "__main__":
    main()
