"""Models in files: the same bits, written piece by piece, whole or not at all."""

import errno
import io
import itertools
import json
import math
import os
import signal
import threading
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

import initcore as ic
from initcore import storage, streaming
from initcore.params import Rule, init_params, plan
from scheme_cases import SPECS

MODEL = {
    "w": (33, 17),
    "b": 40,
    "deep": [{"k": (3, 1, 5, 7)}, {"none": (0, 4), "one": ()}],
    'ж "quoted"': (1, 9),
}
RULES = {"w": "he_normal", "deep.0.*": "xavier_uniform", "*": "truncated_normal"}
DTYPES = ["float32", "float64", "float16", "bfloat16"]


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", 64)


def flat(tensors):
    return {name: (x.dtype, x.shape, x.tobytes()) for name, x in tensors.items()}


def expected(p):
    """Every parameter of a plan, drawn alone."""
    return flat(
        {
            name: x.init(x.shape, seed=p.seed, name=name, dtype=x.dtype.newbyteorder("="), layout=x.layout)
            for name, x in p.parameters.items()
        }
    )


# --- pieces --------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(0, 7), max_size=5).map(tuple)


@given(SHAPES, st.integers(1, 200))
def test_pieces_are_stretches_in_order(shape, limit):
    array = np.arange(math.prod(shape)).reshape(shape)
    pieces = [(array[index], part) for index, part in streaming.cut(shape, limit)]
    assert all(piece.shape == part and piece.size <= limit for piece, part in pieces)
    assert [n for piece, _ in pieces for n in piece.flat] == list(range(array.size))


@given(SHAPES, st.integers(1, 200))
def test_pieces_are_not_smaller_than_they_must_be(shape, limit):
    """An even cut of one axis: all but those of a lone row have a third of the limit at least."""
    sizes = [math.prod(part) for _, part in streaming.cut(shape, limit)]
    if len(sizes) > 1:
        assert min(sizes) > limit / 4 or max(sizes) - min(sizes) <= max(sizes) / 2


def test_pieces_of_what_no_memory_holds():
    pieces = streaming.cut((10**12, 10**12), 1 << 20)
    index, shape = next(pieces)
    assert index == (0, slice(0, shape[0]))
    assert 2**19 < shape[0] <= 2**20


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_has_the_bits_of_the_arrays(dtype, threads, tmp_path):
    p = plan(MODEL, RULES, seed=3, dtype=dtype)
    p.save(tmp_path / "model.safetensors", num_threads=threads)
    tensors = load_file(tmp_path / "model.safetensors")
    assert flat(tensors) == expected(p)
    arrays = p.init()
    assert flat({"w": arrays["w"], "deep.0.k": arrays["deep"][0]["k"]}).items() <= flat(tensors).items()


@pytest.mark.parametrize("piece", [64, streaming.PIECE])
@pytest.mark.parametrize("name", SPECS)
def test_every_initializer(name, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", piece)
    p = plan({"w": (30, 31)}, {"*": name}, seed=0)
    p.save(tmp_path / "model")
    assert flat(load_file(tmp_path / "model")) == expected(p)


@pytest.mark.usefixtures("small_pieces")
def test_mixed_dtypes_layouts_and_byte_orders(tmp_path):
    """Wide types come first, so that every tensor is aligned, whatever the order of the model."""
    rules = {f"{i}": Rule("normal", dtype=d) for i, d in enumerate([*DTYPES, ">f8", ">f2"])}
    p = plan([(7, 3)] * 5 + [1], rules | {"4": Rule("he_normal", dtype=">f8", layout="torch")}, seed=1)
    p.save(tmp_path / "model")
    assert flat(load_file(tmp_path / "model")) == expected(p)
    raw = (tmp_path / "model").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    size = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert all(entry["data_offsets"][0] % size[entry["dtype"]] == 0 for entry in entries)


def test_metadata(tmp_path):
    p = plan({"w": 3}, {"*": "normal"})
    p.save(str(tmp_path / "model"))
    with safe_open(tmp_path / "model", "numpy") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"format", "initcore"}
    assert metadata["format"] == "pt"  # without it, some loaders refuse
    record = {"version": ic.__version__, "stream": 1, "seed": p.seed, "plan": p.fingerprint}
    assert json.loads(metadata["initcore"]) == record
    with pytest.raises(ValueError, match="model does not describe a network"):
        ic.MLP.load(tmp_path / "model")


def test_one_call(tmp_path):
    assert init_params(MODEL, RULES, seed=5, out=tmp_path / "a") is None
    plan(MODEL, RULES, seed=5).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_model_of_nothing(tmp_path):
    init_params({}, seed=0, out=tmp_path / "model")
    assert load_file(tmp_path / "model") == {}


def test_the_model_is_never_in_memory(tmp_path):
    """64 MiB in two arrays, one of them a single row."""
    p = plan({"w": (4096, 2048), "b": 2**23}, {"*": "zeros"}, seed=0)
    tracemalloc.start()
    try:
        p.save(tmp_path / "model", num_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "model").stat().st_size > p.nbytes == 2**26
    assert peak < 2**23


@pytest.mark.usefixtures("small_pieces")
def test_what_has_no_parts_is_made_once_as_a_whole(tmp_path):
    calls = []

    def make(*, index, out):
        calls.append((index, out.shape))
        out[...] = 1

    tensor = streaming.Tensor("q", (40, 50), np.dtype("<f4"), make, divisible=False)
    streaming.File(tmp_path / "model", [tensor], {}).write(3, lambda _: None)
    assert calls == [((), (40, 50))]
    assert (load_file(tmp_path / "model")["q"] == 1).all()


@pytest.mark.parametrize(("init", "divisible"), [("normal", True), ("orthogonal", False), ("eye", True)])
def test_what_is_made_whole_has_no_parts(init, divisible):
    assert plan({"w": (4, 2)}, {"*": init}).parameters["w"].divisible is divisible


# --- whole or not at all -------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path):
    """A file that is there; it has to be as it was, and alone, where a test is over."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"precious")
    yield path
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"old")
    init_params({"w": 3}, {"*": "ones"}, seed=0, out=path)
    assert load_file(path)["w"].tolist() == [1, 1, 1]


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_write_that_fails(threads, target, monkeypatch):
    """As on a full disk; the other threads do not go on."""
    real, seen, numbers = storage.Path.open, [], itertools.count(1)

    class Full(io.FileIO):
        def write(self, data):
            number = next(numbers)  # one step, whatever the other threads do
            seen.append(number)
            if number == 10:
                raise OSError(errno.ENOSPC, "no room")
            if number > 10:
                time.sleep(0.3)  # the thread that failed goes first
            return super().write(data)

    monkeypatch.setattr(
        storage.Path, "open", lambda path, mode: Full(path, mode) if "+" in mode else real(path, mode)
    )
    with pytest.raises(OSError, match="no room"):
        init_params({"w": (1000, 100)}, {"*": "normal"}, seed=0, out=target, num_threads=threads)
    assert 10 <= len(seen) < 10 + 2 * threads


def test_after_an_error_in_one_thread_the_others_do_not_go_on():
    """Not even while the caller waits for the first, which is not the one that failed."""
    numbers, begun, taken = itertools.count(), threading.Event(), []

    def work(pieces):
        if next(numbers):
            begun.wait(60)
            raise OSError(errno.ENOSPC, "no room")
        for piece in pieces:
            taken.append(piece)
            begun.set()
            time.sleep(0.003)

    with pytest.raises(OSError, match="no room"):
        streaming.spread((i for i in range(1000)), work, 2)
    assert 0 < len(taken) < 1000


def test_a_rename_that_fails(target, monkeypatch):
    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(storage.Path, "replace", fail)
    with pytest.raises(PermissionError):
        init_params({"w": 3}, {"*": "ones"}, seed=0, out=target)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("threads", [1, 3])
def test_interrupted(threads, target):
    """Ctrl-C while the threads are at work, with days of it left."""
    tensor = streaming.Tensor("w", (2**30,), np.dtype("<f4"), partial(ic.get("zeros"), 2**30), divisible=True)
    calls = []

    def advance(_):
        calls.append(0)
        if len(calls) == 20:
            os.kill(os.getpid(), signal.SIGINT)

    before, running = signal.signal(signal.SIGINT, signal.default_int_handler), threading.active_count()
    try:
        with pytest.raises(KeyboardInterrupt):
            streaming.File(target, [tensor], {}).write(threads, advance)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: threading.active_count() == running)


def test_no_room(target, monkeypatch):
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _: streaming.shutil._ntuple_diskusage(9, 5, 4))
    monkeypatch.setattr(streaming, "spread", None)  # nothing is drawn
    with pytest.raises(OSError, match=r"bytes to write, 4 are free") as caught:
        init_params({"w": 3}, {"*": "ones"}, seed=0, out=target)
    assert caught.value.errno == errno.ENOSPC


def test_more_than_any_disk(target):
    with pytest.raises(OSError, match="bytes to write") as caught:
        init_params({"w": (2**40, 2**10)}, {"*": "normal"}, seed=0, out=target)
    assert caught.value.errno == errno.ENOSPC


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "spread", None)  # nothing is drawn
    draw = partial(init_params, {"w": 3}, {"*": "ones"}, seed=0)
    (tmp_path / "file").write_bytes(b"")
    for out, error in [
        (tmp_path, IsADirectoryError),
        (tmp_path / "no" / "model", FileNotFoundError),
        (tmp_path / "file" / "model", NotADirectoryError),
    ]:
        with pytest.raises(error):
            draw(out=out)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_is_read_only(tmp_path, monkeypatch):
    """The administrator may write everywhere: what the system says to others is said here."""
    tmp_path.chmod(0o500)
    if os.geteuid() == 0:

        def refuse(path, mode):
            raise PermissionError(errno.EACCES, f"no {mode} for you", str(path))

        monkeypatch.setattr(storage.Path, "open", refuse)
    with pytest.raises(PermissionError):
        init_params({"w": 3}, {"*": "ones"}, seed=0, out=tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_name_that_the_format_has_taken(target):
    with pytest.raises(ValueError, match="no tensor of a safetensors file can have the name __metadata__"):
        init_params({"__metadata__": 3}, {"*": "ones"}, seed=0, out=target)
