"""Orthogonal matrices beside the peers: ``make bench-orthogonal`` writes docs/benchmarks-orthogonal.md.

Each library works in a process of its own, this script with the library's name as its argument (see
``peers.py``). Every result is checked first: products of its rows or columns, whichever are
fewer, in float64.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import peers
from peers import Row, comparison_table, digits, facts_list, plural, table

HERE = Path(__file__).parent
MANY = (1000, 16, 16)
#: shape, dtype, the least ratio to PyTorch
WORKS = (
    ((1024, 1024), "float32", 1.5),
    ((2048, 2048), "float32", 1.5),
    ((4096, 1024), "float32", 1.5),
    ((1024, 4096), "float32", 1.5),
    ((1024, 1024), "float64", None),
    ((2048, 2048), "float64", None),
    ((256, 256), "float32", None),
    (MANY, "float32", None),
)
ERRORS = {"float32": 1e-5, "float64": 1e-13}
PAGE = """\
# Benchmarks of orthogonal matrices

Matrices with orthonormal columns, or rows if they are fewer, drawn from the Haar measure; {many} is
a thousand of 16 × 16, one call for each where a library makes one at a time. Best times of {rounds} rounds in
which the libraries take turns, with the ratio of the best times (and of the medians).

{facts}
{comparisons}
## How orthogonal they are

The largest element of |QᵀQ - I|, computed in float64.

{errors}"""


def name(shape: Sequence[int], dtype: str) -> str:
    """Write a piece of work."""
    return f"{' × '.join(map(str, shape))} {dtype}"


@dataclass
class Orthogonal(peers.Measurement):
    """The times of making matrices."""

    error: float = 0.0

    @property
    def figure(self) -> str:
        """Write the best time."""
        return f"{1e3 * self.best:.3g} ms"


@dataclass(frozen=True)
class Case(peers.Case):
    """A call that returns a matrix, or many."""

    errors: list[float] = field(default_factory=list)

    def check(self, result: object) -> int:
        """Measure how far from orthonormal it is; return the number of elements."""
        q = np.asarray(result, np.float64)
        q = q.swapaxes(-1, -2) if q.shape[-2] < q.shape[-1] else q
        error = float(np.abs(q.swapaxes(-1, -2) @ q - np.eye(q.shape[-1])).max())
        if not error < 1e-4:
            raise ValueError(f"{self.work}, {self.method}: {error} from orthonormal")
        self.errors.append(error)
        return q.size

    def warm_up(self) -> dict[str, object]:
        """Say how orthogonal it is, too."""
        return super().warm_up() | {"error": max(self.errors)}


def initcore(threads: int) -> Iterator[Case | str]:
    import initcore as ic

    yield peers.describe_initcore()
    layout = ic.Layout(batch_axis=0, in_axis=-2, out_axis=-1)
    for shape, dtype, _ in WORKS:
        options = {"layout": layout} if len(shape) == 3 else {}
        for count in sorted({1, threads}):
            call = partial(ic.Orthogonal(), shape, seed=0, out=np.ones(shape, dtype), num_threads=count)
            yield Case(name(shape, dtype), "Orthogonal", partial(call, **options), count)


def pytorch(threads: int) -> Iterator[Case | str]:
    import torch

    yield f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"

    def fill(out: torch.Tensor) -> torch.Tensor:
        for matrix in out if out.ndim == 3 else [out]:
            torch.nn.init.orthogonal_(matrix)
        return out

    for shape, dtype, _ in WORKS:
        out = torch.ones(shape, dtype=getattr(torch, dtype))
        for count in sorted({1, threads}):
            before = partial(torch.set_num_threads, count)
            yield Case(name(shape, dtype), "nn.init.orthogonal_", partial(fill, out), count, before)


def jax(threads: int) -> Iterator[Case | str]:  # noqa: ARG001
    import jax

    yield f"jax {jax.__version__}, {jax.default_backend()}"
    jax.config.update("jax_enable_x64", val=True)
    key, orthogonal = jax.random.key(0), jax.nn.initializers.orthogonal()
    for shape, dtype, _ in WORKS:
        make = partial(orthogonal, shape=shape[-2:], dtype=dtype)
        keys = jax.random.split(key, shape[0]) if len(shape) == 3 else key
        make = jax.jit(jax.vmap(make) if len(shape) == 3 else make)
        call = partial(lambda make, keys: jax.block_until_ready(make(keys)), make, keys)
        yield Case(name(shape, dtype), "jit(initializers.orthogonal)", call, None)


LIBRARIES = {"initcore": initcore, "PyTorch": pytorch, "JAX": jax}


def comparisons(measurements: Sequence[Orthogonal], threads: int) -> Iterator[Row]:
    """Compare with the peers, each at its best number of threads, and one thread with several."""
    for shape, dtype, bar in WORKS:
        work = name(shape, dtype)
        found = [m for m in measurements if m.work == work]
        ours = {m.threads: m for m in found if m.library == "initcore"}
        others = [
            min(theirs, key=lambda m: m.best)
            for library in list(LIBRARIES)[1:]
            if (theirs := [m for m in found if m.library == library])
        ]
        mine = ours[threads]
        for other in [*others, *([ours[1]] if threads > 1 else [])]:
            best, median = other.best / mine.best, other.median / mine.median
            row = Row(
                f"{work}, {plural(threads)}",
                mine.figure,
                other.name,
                other.figure,
                f"{digits(best)}× ({digits(median)}×)",
            )
            has_bar = bar and other.library == "PyTorch"
            yield replace(row, bar=f"≥ {bar:g}×", met=best >= bar) if has_bar else row


def errors(measurements: Sequence[Orthogonal]) -> str:
    """Write how orthogonal the matrices are."""
    rows = []
    for shape, dtype, _ in WORKS:
        work = name(shape, dtype)
        by_library = {m.library: f"{m.error:.1e}" for m in measurements if m.work == work}
        ours = max(m.error for m in measurements if (m.library, m.work) == ("initcore", work))
        verdict = f"≤ {ERRORS[dtype]:g}{'' if ours <= ERRORS[dtype] else ': **not met**'}"
        rows.append((work, *(by_library.get(library, "") for library in LIBRARIES), verdict))
    return table(("work", *LIBRARIES, "bar for initcore"), rows)


def main() -> None:
    """Measure, print the tables and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="measurements of every case (9)")
    parser.add_argument("--threads", type=int, default=2, help="the number to use beside one (2)")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs", help="where to write (docs)")
    options = parser.parse_args()
    facts = peers.circumstances("bench-orthogonal", __file__)
    facts["Work"] = f"{options.rounds} rounds, 1 and {options.threads} threads"
    worker = partial(peers.Worker, Path(__file__), measurement=Orthogonal)
    workers = {library: worker(library, options.threads) for library in tqdm(LIBRARIES, "warming up")}
    measurements = peers.measure(workers.values(), options.rounds)
    facts |= {library: worker.description for library, worker in workers.items()}
    text = PAGE.format(
        many=" × ".join(map(str, MANY)),
        rounds=options.rounds,
        facts=facts_list(facts),
        comparisons=comparison_table(list(comparisons(measurements, options.threads))),
        errors=errors(measurements),
    )
    print(text)
    options.docs.joinpath("benchmarks-orthogonal.md").write_text(text)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in LIBRARIES:
        peers.serve(sys.argv[1], partial(LIBRARIES[sys.argv[1]], int(sys.argv[2])))
    else:
        main()
