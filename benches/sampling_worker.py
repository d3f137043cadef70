"""One library in a process of its own, measured on request: ``sampling_table.py`` starts one per library.

Every case is warmed up first, and its values are checked against the mean and the standard deviation they
should have: what does not do the work is not measured.
"""

import contextlib
import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

import peers

IN_CACHE = 1 << 22  # values of float32 that stay in a last-level cache
SMALL, LARGE = (64, 64), (4096, 4096)
SHARD = np.s_[:, 128:192]
EXPECTED = {  # distribution: mean, standard deviation
    "normal": (0.0, 1.0),
    "uniform": (0.5, math.sqrt(1 / 12)),
    "truncated_normal": (0.0, 0.87962566103423978),
    "constant": (1.0, 0.0),
    "he_normal": (0.0, 1.0),  # times sqrt(2 / fan_in)
}


class Case(peers.Case):
    """A call to measure; it returns what it made. Its work is the distribution and the dtype or shape."""

    def check(self, result: object) -> int:
        """Check mean and standard deviation; return the number of values."""
        values = np.asarray(result)
        mean, std = EXPECTED[self.work.split()[0]]
        if self.work.startswith("he_normal"):
            std *= math.sqrt(2 / (SMALL if "64, 64" in self.work else LARGE)[0])
        sample = values.ravel()[: 1 << 20].astype(np.float64)
        six_sigma = 6 / math.sqrt(sample.size)
        if abs(sample.mean() - mean) > six_sigma * std or abs(sample.std() - std) > six_sigma * std:
            raise ValueError(
                f"{self.work}, {self.method}: mean {sample.mean():.4g} and standard deviation "
                f"{sample.std():.4g}, expected {mean:.4g} and {std:.4g}"
            )
        return values.size


def buffer(size: int, dtype: object) -> np.ndarray:
    """Memory that has been touched, so that no call pays for its first use."""
    return np.ones(size, dtype)


def initcore(size: int, threads: int) -> Iterator[Case | str]:
    import initcore as ic

    yield peers.describe_initcore()
    memory = buffer(size, np.float64)
    float32 = memory.view(np.float32)[:size]
    for count in sorted({1, threads}):
        common = {"seed": 0, "num_threads": count}
        for make in (ic.normal, ic.uniform, ic.truncated_normal):
            work = f"{make.__name__} float32"
            yield Case(work, make.__name__, partial(make, size, out=float32, **common), count)
        yield Case(
            "constant float32",
            "constant",
            partial(ic.constant, size, 1.0, out=float32, num_threads=count),
            count,
        )
        few = min(IN_CACHE, size)
        cached = partial(ic.normal, few, out=float32[:few], **common)
        yield Case("normal float32 in cache", "normal", cached, count)
        wide = partial(ic.normal, size, dtype=np.float64, out=memory, **common)
        yield Case("normal float64", "normal", wide, count)
        for dtype in narrow_dtypes():
            out = memory.view(dtype)[:size]
            narrow = partial(ic.normal, size, dtype=dtype, out=out, **common)
            yield Case(f"normal {np.dtype(dtype).name}", "normal", narrow, count)
    yield Case("he_normal (64, 64)", "he_normal", partial(ic.he_normal, SMALL, seed=0), None)
    for work, index in (("he_normal whole", np.s_[:]), ("he_normal shard", SHARD)):
        out = buffer(math.prod(LARGE), np.float32).reshape(LARGE)[index].copy()
        yield Case(
            work, "he_normal", partial(ic.he_normal, LARGE, seed=0, index=index, out=out, num_threads=1)
        )


def narrow_dtypes() -> list[object]:
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return [np.float16]
    return [np.float16, bfloat16]


def pytorch(size: int, threads: int) -> Iterator[Case | str]:
    import torch

    yield f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    out = torch.from_numpy(buffer(size, np.float32))
    small = torch.empty(SMALL)
    for count in sorted({1, threads}):
        case = partial(Case, threads=count, before=partial(torch.set_num_threads, count))
        yield case("normal float32", "Tensor.normal_", out.normal_)
        yield case("uniform float32", "Tensor.uniform_", out.uniform_)
        truncated = partial(torch.nn.init.trunc_normal_, out, a=-2.0, b=2.0)
        yield case("truncated_normal float32", "nn.init.trunc_normal_", truncated)
        he = partial(torch.nn.init.kaiming_normal_, small)
        yield case("he_normal (64, 64)", "nn.init.kaiming_normal_", he)


def numpy(size: int, threads: int) -> Iterator[Case | str]:  # noqa: ARG001
    yield f"numpy {np.__version__}"
    out = buffer(size, np.float32)
    for bits in (np.random.PCG64, np.random.Philox):
        rng = np.random.Generator(bits(0))
        name = bits.__name__
        yield Case(
            "normal float32", f"{name}, standard_normal", partial(rng.standard_normal, out=out, dtype="f4")
        )
        yield Case("uniform float32", f"{name}, random", partial(rng.random, out=out, dtype="f4"))
    rng = np.random.default_rng(0)
    std = np.float32(math.sqrt(2 / SMALL[0]))
    yield Case("he_normal (64, 64)", "standard_normal * std", lambda: rng.standard_normal(SMALL, "f4") * std)

    def fill() -> np.ndarray:
        out.fill(1.0)
        return out

    yield Case("constant float32", "ndarray.fill", fill)


def jax(size: int, threads: int) -> Iterator[Case | str]:  # noqa: ARG001
    import jax

    yield f"jax {jax.__version__}, {jax.default_backend()}"
    key, random = jax.random.key(0), jax.random

    def case(work: str, method: str, sample: Callable[[object], object]) -> Case:
        return Case(work, method, lambda: jax.block_until_ready(sample(key)), None)

    for work, sample in (
        ("normal", lambda key: random.normal(key, (size,))),
        ("uniform", lambda key: random.uniform(key, (size,))),
        ("truncated_normal", lambda key: random.truncated_normal(key, -2.0, 2.0, (size,))),
    ):
        yield case(f"{work} float32", f"jit(random.{work})", jax.jit(sample))
    he = jax.nn.initializers.he_normal()  # truncated in JAX; its standard deviation is that after the cut
    yield case("he_normal (64, 64)", "he_normal", lambda key: he(key, SMALL))
    yield case("he_normal (64, 64)", "jit(he_normal)", jax.jit(lambda key: he(key, SMALL)))


def onemkl(size: int, threads: int) -> Iterator[Case | str]:  # noqa: ARG001
    """The vector statistics library (VSL), one thread; the numbers are those of mkl_vsl_defines.h."""
    os.environ |= {"MKL_NUM_THREADS": "1", "MKL_THREADING_LAYER": "SEQUENTIAL"}
    runtime = next(file for file in metadata.files("mkl") or [] if "mkl_rt" in file.name)
    mkl = ctypes.CDLL(str(runtime.locate()))
    generators = {"Philox4x32x10": 16 << 20, "ARS5": 15 << 20}  # VSL_BRNG_*
    gaussians = {"BoxMuller": 0, "BoxMuller2": 1, "ICDF": 2}  # VSL_RNG_METHOD_GAUSSIAN_*
    memory = buffer(size, np.float64)

    def checked(status: int) -> None:
        if status:
            raise RuntimeError(f"VSL status {status}")

    def case(work: str, method: str, name: str, generator: int, number: int, *parameters: float) -> Case:
        double = work.endswith("float64")
        real = ctypes.c_double if double else ctypes.c_float
        out = memory if double else memory.view(np.float32)[:size]
        stream = ctypes.c_void_p()
        checked(mkl.vslNewStream(ctypes.byref(stream), generator, ctypes.c_uint(0)))
        function = getattr(mkl, ("vd" if double else "vs") + name)
        function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, real, real]

        def call() -> np.ndarray:
            checked(function(number, stream, size, out.ctypes.data, *parameters))
            return out

        return Case(work, method, call)

    for name, generator in generators.items():
        for method, number in gaussians.items():
            yield case("normal float32", f"{name}, {method}", "RngGaussian", generator, number, 0.0, 1.0)
        icdf = gaussians["ICDF"]
        yield case("normal float64", f"{name}, ICDF", "RngGaussian", generator, icdf, 0.0, 1.0)
        yield case("uniform float32", f"{name}, uniform", "RngUniform", generator, 0, 0.0, 1.0)

    loaded = ""
    with contextlib.suppress(OSError):
        names = {Path(line.split()[-1]).name for line in Path("/proc/self/maps").read_text().splitlines()}
        loaded = ", ".join(sorted(name.split(".")[0] for name in names if name.startswith("libmkl_vml_")))
    yield f"mkl {metadata.version('mkl')}{loaded and f', code of {loaded}'}"


LIBRARIES = {"initcore": initcore, "PyTorch": pytorch, "NumPy": numpy, "JAX": jax, "oneMKL": onemkl}


def extra_memory(size: int, threads: int) -> None:
    """Print by how many bytes the peak of the resident memory grows while a given array is filled (Linux)."""
    import initcore as ic

    out = buffer(size, np.float32)
    ic.normal(16, seed=0)  # the code itself is read into memory at its first use
    print(peers.peak_growth(partial(ic.normal, size, seed=0, out=out, num_threads=threads)))


if __name__ == "__main__":
    what, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if what == "memory":
        extra_memory(size, threads)
    else:
        peers.serve(what, partial(LIBRARIES[what], size, threads))
