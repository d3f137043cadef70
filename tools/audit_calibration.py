"""How often `audit` is wrong, measured: rewrites the last section of docs/audit.md. Takes minutes.

False alarms: correct draws of many laws, shapes and dtypes. Detection: draws with one defect, of several
sizes. All seeds are fixed.
"""

import hashlib
import itertools
import math
import warnings
from collections import defaultdict
from pathlib import Path

import ml_dtypes
import numpy as np
from scipy import stats

import initcore as ic
from initcore.auditing import audit

PAGE = Path(__file__).parents[1] / "docs" / "audit.md"
HEADING = "## Measured\n"
ALPHA = 0.01  # for the rate of false alarms, which at the default of 0.001 takes ten times as many draws
DRAWS = 60
TRIALS = 40
DTYPES = [np.dtype(d) for d in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
#: initializer, layout, shapes
LAWS = [
    ("he_normal", "numpy", [(2, 2), (5, 4), (16, 12), (100, 60), (3, 3, 4, 6)]),
    ("xavier_uniform", "torch", [(2, 2), (5, 4), (16, 12), (100, 60), (6, 4, 3, 3)]),
    ("lecun_truncated_normal", "numpy", [(2, 2), (5, 4), (16, 12), (100, 60)]),
    (ic.Normal(1.0, 0.01), "numpy", [(5, 4), (100, 60)]),
    (ic.Uniform(1.0, 1.0625), "numpy", [(16, 12), (100, 60)]),
    (ic.TruncatedNormal(0.0, 1.0, 2.0, math.inf), "numpy", [(5, 4), (100, 60)]),
    (ic.TruncatedNormal(0.3, 0.1, -1.0, 0.5), "numpy", [(5, 4), (100, 60)]),
    (ic.Embedding(1.0, 0), "embedding", [(30, 8)]),
    (ic.Sparse(0.8), "numpy", [(20, 30), (60, 100)]),
    (ic.Orthogonal(), "numpy", [(4, 4), (16, 16), (40, 12), (12, 40), (64, 64)]),
]


def seed_of(*what):
    """A seed of its own for everything that is drawn."""
    return int.from_bytes(hashlib.blake2b(repr(what).encode(), digest_size=8).digest(), "little")


def haar(shape, seed, corrected=True):
    """An orthonormal frame, by the QR decomposition of a normal matrix."""
    normal = np.random.default_rng(seed).standard_normal((max(shape), min(shape)))
    q, r = np.linalg.qr(normal)
    q = q * np.sign(np.diag(r)) if corrected else q
    return q if shape[0] >= shape[1] else q.T


def draw(init, shape, seed, dtype, layout):
    if isinstance(init, ic.Orthogonal):
        return haar(shape, seed).astype(dtype)
    return init(shape, seed=seed, name="audit", dtype=dtype, layout=layout)


def false_alarms():
    """(draws, rejected, p-values by check), of correct draws."""
    draws, rejected, found = 0, 0, defaultdict(list)
    for spec, layout, shapes in LAWS:
        init = ic.get(spec)
        for shape, dtype, number in itertools.product(shapes, DTYPES, range(DRAWS)):
            array = draw(init, shape, seed_of(spec, shape, dtype.name, number), dtype, layout)
            report = audit(array, init, layout=layout, alpha=ALPHA)
            draws += 1
            rejected += not report.ok
            for check in report.checks:
                if check.p_value is not None:
                    kind = "orthogonal: " if isinstance(init, ic.Orthogonal) else ""
                    found[kind + check.name].append(check.p_value)
    for number in range(DRAWS * 10):
        names = [f"layer{i}" for i in range(6)]
        kinds = ["he_normal", "xavier_uniform", "lecun_truncated_normal"] * 2
        model = {
            name: ic.get(kind)((8 + i, 5), seed=seed_of("model", number), name=name, dtype=DTYPES[i % 4])
            for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
        }
        report = audit(model, dict(zip(names, kinds, strict=True)), alpha=ALPHA)
        draws += 1
        rejected += not report.ok
        found["shared words"].append(report.checks[-1].p_value)
    return draws, rejected, found


def interval(count, total):
    """Clopper and Pearson's, 95 %."""
    low, high = stats.binomtest(count, total).proportion_ci(method="exact")
    return f"{100 * count / total:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def he(shape, seed, dtype="float32"):
    return ic.he_normal(shape, seed=seed, name="audit", dtype=dtype)


def scaled(size, seed):
    return he((128, 128), seed) * np.float32(math.sqrt(1 + size / 100)), "he_normal"


def other_law(size, seed):
    return ic.he_truncated_normal((size, size), seed=seed, name="audit"), "he_normal"


def clipped(size, seed):
    init = ic.TruncatedNormal()
    return ic.normal((size, size), seed=seed, name="audit").clip(-2, 2), init


def outlier(size, seed):
    w = he((64, 64), seed)
    w[seed % 64, 7] = size * math.sqrt(2 / 64)
    return w, "he_normal"


def copied(factor):
    def make(size, seed):
        w = he((size, 64), seed)
        w[:, 40] = w[:, 3] * np.float32(factor)
        return w, "he_normal"

    return make


def correlated(size, seed):
    w = he((64, 64), seed)
    w[:, 40] = size * w[:, 3] + math.sqrt(1 - size**2) * w[:, 40]
    return w, "he_normal"


def tiled(size, seed):
    w = he((64, 64), seed)
    w[40 : 40 + size, 30 : 30 + size] = w[:size, :size]
    return w, "he_normal"


def equal_lengths(size, seed):
    w = he((size, size), seed)
    return w / np.sqrt(np.square(w).sum(axis=0) / 2), "he_normal"


def swapped(size, seed):
    return ic.he_normal((64, 64 + size), seed=seed, name="audit", layout="torch"), "he_normal"


def shared(other, dtype):
    def make(size, seed):
        model = {
            "a": he((size, 1), seed),
            "b": ic.get(other)((2, size), seed=seed, name="audit", dtype=dtype),
        }
        return model, {"a": "he_normal", "b": other}

    return make


def uncorrected(size, seed):
    return haar((size, size), seed, corrected=False).astype(np.float32), ic.Orthogonal()


def zero_missing(size, seed):
    init = ic.Sparse(0.8)
    w = init((size, size), seed=seed, name="audit")
    w[np.flatnonzero(w[:, 1] == 0)[0], 1] = 0.01
    return w, init


#: what is wrong, what its size means, sizes, function (size, seed) -> array and initializer
DEFECTS = [
    ("variance too large, 128 x 128", "by", [2, 5, 10], " %", scaled),
    ("truncated in place of normal, same variance", "n x n", [16, 32, 64, 128], "", other_law),
    ("clipped at 2 standard deviations in place of truncated", "n x n", [8, 16, 32], "", clipped),
    ("one outlier among 4096", "at", [5, 6, 7, 8], " std", outlier),
    ("one of 64 units repeats another", "weights", [4, 8, 16], "", copied(1)),
    ("one of 64 units is another's negative", "weights", [4, 8, 16], "", copied(-1)),
    ("one of 64 units is another, times 0.7", "weights", [4, 8, 16], "", copied(0.7)),
    ("two of 64 units with 64 weights are correlated", "by", [0.3, 0.5, 0.7, 0.9], "", correlated),
    ("units made equally long", "n x n", [8, 16, 32], "", equal_lengths),
    ("a block is pasted elsewhere in 64 x 64", "n x n", [2, 4, 8, 16], "", tiled),
    ("inputs and outputs taken for each other, 64 x (64 + n)", "n", [4, 8, 16], "", swapped),
    (
        "one name twice: he_normal, xavier_uniform",
        "elements",
        [4, 8, 16],
        "",
        shared("xavier_uniform", "float32"),
    ),
    ("the same, float32 and bfloat16", "elements", [4, 8, 16], "", shared("xavier_uniform", "bfloat16")),
    ("the same, float32 and float64", "elements", [16, 32, 64], "", shared("he_truncated_normal", "float64")),
    ("orthogonal by an uncorrected QR decomposition", "n x n", [16, 32, 64, 128], "", uncorrected),
    ("a zero too few in one column of a sparse matrix", "n x n", [8, 32], "", zero_missing),
]


def detection():
    """One row of text for each defect: the share found, by size."""
    for what, meaning, sizes, unit, make in DEFECTS:
        shares = []
        for size in sizes:
            hits = sum(not audit(*make(size, seed_of(what, size, trial))).ok for trial in range(TRIALS))
            shares.append(f"{size}{unit}: {100 * hits / TRIALS:.0f} %")
        yield f"| {what} | {meaning} | {', '.join(shares)} |"


def results():
    draws, rejected, found = false_alarms()
    share = interval(rejected, draws)
    yield f"Correct draws rejected at `alpha={ALPHA}`: {rejected} of {draws:,}, {share}.\n"
    yield f"| check | p-values | below {ALPHA:g} (95 % interval) | median |\n|---|---|---|---|"
    for name, values in found.items():
        low = sum(p < ALPHA for p in values)
        yield f"| {name} | {len(values):,} | {interval(low, len(values))} | {np.median(values):.2f} |"
    yield f"\nDraws with one defect that are rejected at `alpha=0.001`, of {TRIALS}:\n"
    yield "| defect | size | rejected |\n|---|---|---|"
    yield from detection()


def main():
    warnings.simplefilter("error")
    head, _, _ = PAGE.read_text().partition(HEADING)
    PAGE.write_text(head + HEADING + "\n" + "\n".join(results()) + "\n")


if __name__ == "__main__":
    main()
