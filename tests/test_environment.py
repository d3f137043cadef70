"""What the process around it cannot change, floating-point modes, and what it can: environment, settings."""

import contextlib
import ctypes
import ctypes.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import initcore as ic
from initcore import _core

# Floating-point modes

#: Linux (glibc): the 32-bit word of `fenv_t` that holds the control register, and bits of it to set.
CONTROL, MODES = {
    # MXCSR; rounding in bits 13 and 14, flush-to-zero in bit 15, denormals-are-zero in bit 6
    "x86_64": (7, {"down": 0x2000, "up": 0x4000, "zero": 0x6000, "flush": 0x8040, "flush, up": 0xC040}),
    # FPCR; rounding in bits 22 and 23, flush-to-zero in bit 24
    "aarch64": (0, {"down": 2 << 22, "up": 1 << 22, "zero": 3 << 22, "flush": 1 << 24}),
}.get(platform.machine(), (0, {"unknown": 0}))

needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or "unknown" in MODES, reason="sets the control register through glibc"
)


@contextlib.contextmanager
def floating_point_mode(mode):
    """As a library that is loaded or called may leave it behind, on this thread and on those it starts."""
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    before, now = (ctypes.c_uint32 * 16)(), (ctypes.c_uint32 * 16)()
    assert libm.fegetenv(before) == 0
    libm.fegetenv(now)
    now[CONTROL] |= MODES[mode]
    assert libm.fesetenv(now) == 0
    try:
        yield
        libm.fegetenv(now)
        assert now[CONTROL] & MODES[mode] == MODES[mode], "the caller's mode is not given back"
    finally:
        libm.fesetenv(before)


def rounding_and_flushing():
    """What the mode does to NumPy."""
    one, tiny = np.ones(1), np.full(1, 5e-324)
    sums = [(one + 1e-20)[0], (one - 1e-20)[0], (-one - 1e-20)[0]]
    return sums, (tiny * one)[0]


# Made here: Python itself reads "0.7" differently when it rounds up.
INITIALIZERS = (ic.Normal(0.1, 0.7), ic.Uniform(-0.1, 0.7), ic.TruncatedNormal(0.1, 0.7))
DTYPES = ("float16", "bfloat16", "float32", "float64")
#: Laws whose values are, in part, below the smallest normal number of the type.
SUBNORMAL = {
    dtype: (ic.Normal(0.0, x), ic.Uniform(-x, x), ic.TruncatedNormal(0.0, x), ic.Constant(x))
    for dtype, x in {"float16": 3e-5, "bfloat16": 5e-39, "float32": 5e-39, "float64": 1e-308}.items()
}


def everything():
    """Values of every kind, and a small training, as bytes."""
    shape = (40, 30)
    arrays = [
        init(shape, seed=3, name="w", dtype=dtype, num_threads=2)
        for init in (*INITIALIZERS, *map(ic.get, ("he_normal", "xavier_uniform")))
        for dtype in DTYPES
    ]
    arrays += [
        # subnormal values, some of them; more than one work item
        law(70_000, seed=3, dtype=dtype, num_threads=threads)
        for dtype, laws in SUBNORMAL.items()
        for law in laws
        for threads in (1, 2)
    ]
    arrays += [
        ic.lecun_truncated_normal(shape, seed=3, dtype="float64", gain=1.1),
        ic.he_uniform(shape, seed=3, dtype="float64", negative_slope=0.3),
        ic.truncated_normal(9, seed=3, dtype="float64", low=0.3, high=1.7),
        *(np.float64(init.std((3, 4))) for init in (*INITIALIZERS, ic.get("xavier_normal"))),
    ]
    x = ic.normal((500, 40), seed=1, name="x")
    t = (x[:, 0] > 0).astype(int)
    for threads in (1, 2):
        net = ic.MLP([40, 70, 2], activation="tanh", seed=0)
        net.fit(
            x, t, loss="softmax_cross_entropy", optimizer=ic.Adam(0.01), batch_size=250, epochs=3,
            num_threads=threads,
        )  # fmt: skip
        arrays += net.parameters().values()
    return [array.tobytes() for array in arrays]


@needs_glibc
@pytest.mark.parametrize("mode", MODES)
def test_the_callers_floating_point_mode_changes_nothing(mode):
    expected, plain = everything(), rounding_and_flushing()
    with floating_point_mode(mode):
        changed = rounding_and_flushing()
        found = everything()
    assert changed != plain, "the mode was not set"
    assert found == expected


def test_the_values_for_flush_to_zero_are_subnormal():
    for dtype, laws in SUBNORMAL.items():
        for law in laws[:3]:
            values = law(1000, seed=3, dtype=dtype)
            smallest = np.finfo(dtype).smallest_normal if dtype != "bfloat16" else 2.0**-126
            small = np.abs(values.astype(np.float64)) < float(smallest)
            assert (values[small] != 0).sum() > 10, (dtype, law)


@needs_glibc
def test_threads_that_start_in_flush_to_zero_mode():
    """A thread inherits the mode of the one that starts it: here all workers of the pool."""
    law, size = SUBNORMAL["float64"][0], 13 << 16
    expected = law(size, seed=3, dtype="float64", num_threads=1).tobytes()
    with floating_point_mode("flush"):
        found = law(size, seed=3, dtype="float64", num_threads=13).tobytes()
    assert found == expected


# Environment variables and settings


def in_a_process(code, **environment):
    """Run it with these variables and no others of ours; give what it prints."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("INITCORE_")}
    command = [sys.executable, "-c", "import initcore as ic; " + code]
    run = subprocess.run(
        command, env=ours | environment, capture_output=True, text=True, timeout=100, check=False
    )
    return run.stdout + run.stderr.rpartition("Error: ")[2]


SAMPLE = "print(ic.normal(3, seed=0).tobytes().hex())"


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", "1025", "9" * 30, "2 2"])
def test_a_bad_number_of_threads_in_the_environment(text):
    expected = f'INITCORE_NUM_THREADS="{text}": expected an integer from 1 to 1024\n'
    assert in_a_process(SAMPLE, INITCORE_NUM_THREADS=text) == expected


def test_a_number_of_threads_in_the_environment():
    cores = in_a_process("print(ic.get_num_threads())")
    assert int(cores) >= 1
    for text, expected in [("3", "3\n"), (" 1024 ", "1024\n"), ("", cores)]:
        assert in_a_process("print(ic.get_num_threads())", INITCORE_NUM_THREADS=text) == expected
    # it is read when needed: not by the import, nor where a number is given
    code = "ic.normal(3, num_threads=2); ic.set_num_threads(2); print(ic.get_num_threads())"
    assert in_a_process(code, INITCORE_NUM_THREADS="many") == "2\n"


@pytest.mark.skipif(os.name == "nt", reason="the environment is Unicode there")
def test_an_environment_that_is_no_text():
    for name in ("INITCORE_NUM_THREADS", "INITCORE_ISA"):
        assert "\N{REPLACEMENT CHARACTER}" in in_a_process(SAMPLE, **{name: os.fsdecode(b"\xff")})


@pytest.mark.parametrize("n", [0, -1, 1025, 10**50, -(10**50), 2.0, "2", None, [2]], ids=repr)
def test_a_bad_number_of_threads(n):
    before = ic.get_num_threads()
    with pytest.raises(
        (ValueError, TypeError), match=r"num_threads must be (from 1 to 1024|an integer), got "
    ):
        ic.set_num_threads(n)
    assert ic.get_num_threads() == before


def test_instruction_sets():
    """Those that are there can be set, the others are refused, and all give the same values."""
    before, expected = ic.get_isa(), ic.normal(1000, seed=0).tobytes()
    there = _core.available_isas()
    try:
        for isa in ("baseline", "avx2", "avx512", "neon"):
            if isa in there:
                ic.set_isa(isa)
                assert ic.get_isa() == isa
                assert ic.normal(1000, seed=0).tobytes() == expected
            else:
                with pytest.raises(ValueError, match=f'ISA "{isa}" is not available .* has {there[0]}'):
                    ic.set_isa(isa)
    finally:
        ic.set_isa(before)
    with pytest.raises(ValueError, match='unknown ISA "AVX2": expected baseline, avx2, avx512 or neon'):
        ic.set_isa("AVX2")
    with pytest.raises(TypeError):
        ic.set_isa(2)


def test_an_instruction_set_in_the_environment():
    best = _core.available_isas()[0]
    code = f"print(ic.get_isa()); {SAMPLE}"
    expected = ic.normal(3, seed=0).tobytes().hex()
    for isa in ("baseline", "avx2", "avx512", "neon"):
        found = in_a_process(code, INITCORE_ISA=isa)
        if isa in _core.available_isas():
            assert found == f"{isa}\n{expected}\n"
        else:
            assert f'the ISA "{isa}" is not available on this machine' in found
    assert in_a_process(code) == in_a_process(code, INITCORE_ISA="") == f"{best}\n{expected}\n"
    assert 'unknown ISA "sse9"' in in_a_process(SAMPLE, INITCORE_ISA="sse9")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/cpuinfo")
def test_the_instruction_sets_are_those_of_the_processor():
    """As the kernel sees it: nothing that is there goes untested for being overlooked."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    needed = {
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"},
        "avx2": {"avx2", "fma", "f16c", "bmi1", "bmi2"},
        "neon": {"asimd"},
        "baseline": set(),
    }
    there = _core.available_isas()
    assert set(there) == {isa for isa, features in needed.items() if features <= words}
    assert there[-1] == "baseline"


def test_the_configuration_shows_what_is_in_use(capsys):
    ic.show_config()
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown == {
        "initcore": ic.__version__,
        "stream": "v1",
        "isa": f"{ic.get_isa()} (of {', '.join(_core.available_isas())})",
        "threads": str(ic.get_num_threads()),
        "numpy": np.__version__,
    }
