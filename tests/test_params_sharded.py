"""Models in several files: who makes which, what is kept, and that nothing looks complete and is not."""

import errno
import io
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

import initcore as ic
from files_helpers import FILES, LIMIT, SHAPES, Writers, contents, model
from initcore import plans, sharding, storage, streaming
from initcore.params import Rule, init_params, plan
from scheme_cases import SPECS

INDEX = "model.safetensors.index.json"
NAMES = [f"model-{i:05d}-of-{FILES:05d}.safetensors" for i in range(1, FILES + 1)]

needs_posix = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="processes cannot be killed so"
)


def save(directory, seed=0, **options):
    model(seed).save(directory, max_shard_size=LIMIT, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The contents that a directory has to have, by seed."""

    def write(seed):
        directory = tmp_path_factory.mktemp("written")
        save(directory, seed)
        return contents(directory)

    return {seed: write(seed) for seed in (0, 1)}


@pytest.fixture(scope="module")
def writers():
    return Writers()


def tensors(*sizes):
    """Tensors of so many bytes."""
    return [streaming.Tensor(str(i), (n,), np.dtype("<u1"), lambda: None) for i, n in enumerate(sizes)]


# --- what goes where -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "files"),
    [
        ([6, 6, 2, 6, 2, 2], [[6], [6, 2], [6, 2, 2]]),
        ([5, 5, 1], [[5, 5], [1]]),
        ([3, 20, 4, 3], [[20], [3, 4, 3]]),  # what is open stays open
        ([20, 30], [[20], [30]]),
        ([0, 10, 0, 0], [[0, 10, 0, 0]]),
        ([], [[]]),
    ],
)
def test_which_tensors_go_into_which_file(sizes, files):
    assert [[t.nbytes for t in file] for file in sharding.split(tensors(*sizes), 10)] == files


@pytest.mark.parametrize(
    ("size", "number"),
    [
        ("5GB", 5 * 10**9),
        (" 1.5 mb ", 1_500_000),
        ("3KB", 3000),
        ("2TB", 2 * 10**12),
        (7, 7),
        (8, 8),
    ],
)
def test_sizes(size, number):
    assert sharding.byte_count(size) == number


@pytest.mark.parametrize("size", ["", "5", "GB", "5GiB", "five GB", "nanGB", "infGB", "0KB", "-1GB", 0, -3])
def test_sizes_that_are_none(size, tmp_path):
    with pytest.raises(ValueError, match="max_shard_size must be"):
        init_params({"w": 3}, {"*": "ones"}, seed=0, out=tmp_path / "new", max_shard_size=size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_shard_size": 1.5}, TypeError, "max_shard_size must be an integer"),
        ({"max_shard_size": 8, "part": 3}, TypeError, r"part must be \(i, n\), process i of n, got 3"),
        ({"max_shard_size": 8, "part": (1, 2, 3)}, TypeError, r"part must be \(i, n\)"),
        ({"max_shard_size": 8, "part": (0.5, 2)}, TypeError, "i of part"),
        ({"max_shard_size": 8, "part": (2, 2)}, ValueError, r"with i < n, got \(2, 2\)"),
        ({"max_shard_size": 8, "part": (-1, 2)}, ValueError, "i of part"),
        ({"max_shard_size": 8, "part": (0, 0)}, ValueError, "n of part"),
        ({"part": (0, 2)}, ValueError, "give max_shard_size"),
        ({"max_shard_size": 8, "num_threads": 0}, ValueError, "num_threads"),
    ],
)
def test_arguments_that_are_wrong(options, error, words, tmp_path):
    with pytest.raises(error, match=words):
        init_params({"w": 3}, {"*": "ones"}, seed=0, out=tmp_path / "new", **options)
    assert not list(tmp_path.iterdir())


def test_options_of_files_without_files():
    for options in ({"max_shard_size": "1GB"}, {"part": (0, 1)}):
        with pytest.raises(ValueError, match="give out"):
            init_params({"w": 3}, {"*": "ones"}, seed=0, **options)


def parts_of(sizes, n):
    """Deal out files of so many bytes."""
    files = [streaming.File(str(i), [tensor], {}) for i, tensor in enumerate(tensors(*sizes))]
    for file in files:
        file.__dict__["head"] = b""
    directory = sharding.Directory(None, files, None)
    assert directory.part(None) == files
    return [directory.part((i, n)) for i in range(n)]


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 8))
def test_parts_share_the_files_evenly(sizes, n):
    """The difference is one file at most: the most loaded had no more than the others before its last one."""
    parts = parts_of(sizes, n)
    assert sorted(int(file.path) for part in parts for file in part) == [*range(len(sizes))]
    loads = [sum(file.size for file in part) for part in parts]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_large_files_are_dealt_out_first():
    parts = parts_of([1, 1, 2, 3, 1, 8], 2)
    assert [[file.size for file in part] for part in parts] == [[8], [3, 2, 1, 1, 1]]


# --- the same bits -------------------------------------------------------------------------------


def test_the_files_have_the_bits_of_the_arrays(tmp_path):
    dtypes = ["float64", "bfloat16", "float32", "float16"]
    shapes = {f"{i}.w": (9 + i, 40) for i in range(8)} | {"q": (20, 20), "none": (0, 3), "one": ()}
    rules = {f"{i}.w": Rule("he_normal", dtype=dtypes[i % 4]) for i in range(8)} | {
        "q": "orthogonal",
        "*": "ones",
    }
    p = plan(shapes, rules, seed=5)
    p.save(tmp_path / "new" / "model", max_shard_size="4KB", num_threads=3)
    found = {}
    for path in sorted((tmp_path / "new" / "model").glob("*.safetensors")):
        found |= load_file(path)
    expected = p.init()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_the_index_and_the_metadata(tmp_path):
    p = model()
    save(tmp_path)
    assert sorted(contents(tmp_path)) == [*NAMES, INDEX]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == p.nbytes
    assert index["metadata"]["total_parameters"] == p.size
    found = {}
    for name in NAMES:
        with safe_open(tmp_path / name, "numpy") as file:
            found |= dict.fromkeys(file.keys(), name)
            assert file.metadata() == {"format": "pt", "initcore": index["metadata"]["initcore"]}
    assert index["weight_map"] == found
    assert found.keys() == SHAPES.keys()
    record = {"version": ic.__version__, "stream": 1, "seed": 0, "plan": p.fingerprint}
    assert json.loads(index["metadata"]["initcore"]) == record


def test_one_file_is_enough(tmp_path):
    init_params(SHAPES, {"*": "normal"}, seed=0, out=tmp_path, max_shard_size="5GB")
    init_params(SHAPES, {"*": "normal"}, seed=0, out=tmp_path / "alone")
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "alone").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "model.safetensors"]


def test_a_model_of_nothing(tmp_path):
    init_params({}, seed=0, out=tmp_path, max_shard_size=1)
    assert load_file(tmp_path / "model.safetensors") == {}


def test_one_call(tmp_path, written):
    rules = {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}
    init_params(SHAPES, rules, seed=0, out=tmp_path, max_shard_size=LIMIT, progress=True)
    assert contents(tmp_path) == written[0]


def test_the_model_is_never_in_memory(tmp_path):
    p = plan({f"{i}": (2048, 1024) for i in range(8)}, {"*": "zeros"}, seed=0)
    tracemalloc.start()
    try:
        p.save(tmp_path, max_shard_size="16MB", num_threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(contents(tmp_path)) == 9
    assert peak < 2**23


OTHERS = {
    "seed": lambda: model(1),
    "initializer": lambda: plan(SHAPES, {"norm": "zeros", "*.b": "he_uniform", "*": "normal(0.02)"}, seed=0),
    "option": lambda: plan(SHAPES, {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.03)"}, seed=0),
    "layout": lambda: plan(
        SHAPES, {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}, seed=0, layout="torch"
    ),
    "dtype": lambda: plan(
        SHAPES, {"norm": "ones", "*.b": "he_uniform", "*": Rule("normal(0.02)", dtype="f2")}, seed=0
    ),
    "shape": lambda: plan(
        SHAPES | {"norm": (2, 256)}, {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}, seed=0
    ),
    "order": lambda: plan(
        dict(reversed(SHAPES.items())), {"norm": "ones", "*.b": "he_uniform", "*": "normal(0.02)"}, seed=0
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_fingerprint_is_that_of_a_plan(what):
    assert len(model().fingerprint) == 64
    assert model().fingerprint == model().fingerprint
    assert OTHERS[what]().fingerprint != model().fingerprint


def test_a_fingerprint_tells_initializers_apart():
    inits = {ic.get(spec) for spec in SPECS}
    assert len({plan({"w": (4, 4)}, {"*": init}, seed=0).fingerprint for init in inits}) == len(inits)


def test_a_fingerprint_has_the_versions(monkeypatch):
    before = model().fingerprint
    monkeypatch.setattr(plans, "__version__", "0")
    version = model().fingerprint
    monkeypatch.setattr(plans, "stream_version", lambda: 2)
    assert len({before, version, model().fingerprint}) == 3


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, FILES, FILES + 3])
def test_parts_in_any_order(n, tmp_path, written):
    order = random.Random(n).sample(range(n), n)
    for done, i in enumerate(order, 1):
        save(tmp_path, part=(i, n))
        found = contents(tmp_path)
        assert found.items() <= written[0].items()
        assert (INDEX in found) == (len(found) >= FILES)
        assert INDEX in found or done < n
    assert found == written[0]


@needs_posix
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_processes_at_once(n, tmp_path, writers, written):
    started = [writers.start(tmp_path, (i, n)) for i in range(n)]
    assert [writers.end(one) for one in started] == ["done"] * n
    assert contents(tmp_path) == written[0]


def test_who_tidies_up_while_another_writes_the_index(tmp_path, written, monkeypatch):
    """What it was going to rename is gone; the index of the other is there."""
    real = storage.Path.replace

    def replace(self, target):
        if target.name == INDEX:
            real(self, target)
        return real(self, target)  # for the index: nothing to rename

    monkeypatch.setattr(storage.Path, "replace", replace)
    save(tmp_path)
    assert contents(tmp_path) == written[0]


def test_an_index_that_cannot_be_written(tmp_path, monkeypatch):
    real = storage.Path.replace

    def replace(self, target):
        if target.name == INDEX:
            raise FileNotFoundError
        return real(self, target)

    monkeypatch.setattr(storage.Path, "replace", replace)
    with pytest.raises(FileNotFoundError):
        save(tmp_path)
    assert sorted(contents(tmp_path)) == NAMES


# --- what is there -------------------------------------------------------------------------------


def identities(directory):
    return {path.name: path.stat().st_ino for path in directory.iterdir()}


def test_what_is_complete_is_kept(tmp_path, written):
    save(tmp_path)
    before = identities(tmp_path)
    save(tmp_path)
    assert identities(tmp_path) == before
    assert contents(tmp_path) == written[0]


def flip(path):
    """Change the metadata by one digit, and no size."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b'\\"seed\\": 0', b'\\"seed\\": 1'))
    assert path.read_bytes() != data


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 1),
    "too long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "other metadata": flip,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_what_is_not_complete_is_made_again(damage, tmp_path, written, monkeypatch):
    save(tmp_path)
    before = identities(tmp_path)
    DAMAGES[damage](tmp_path / NAMES[4])
    real, made = streaming.File.write, []

    def write(file, *arguments, **options):
        made.append(file.path.name)
        assert not (tmp_path / INDEX).exists()
        real(file, *arguments, **options)

    monkeypatch.setattr(streaming.File, "write", write)
    save(tmp_path)
    assert made == [NAMES[4]]
    assert contents(tmp_path) == written[0]
    after = identities(tmp_path)
    assert [name for name in NAMES if after[name] != before[name]] in ([NAMES[4]], [])  # or its number again


@pytest.mark.parametrize("what", [name for name in OTHERS if name not in ("dtype", "order")])
def test_another_model_is_replaced(what, tmp_path, written, monkeypatch):
    """Also where every file has the size that it has to have; its index goes first."""
    OTHERS[what]().save(tmp_path, max_shard_size=LIMIT)
    assert sorted(contents(tmp_path)) == [*NAMES, INDEX]
    real, made = streaming.File.write, []

    def write(file, *arguments, **options):
        made.append(file.path.name)
        assert not (tmp_path / INDEX).exists()
        real(file, *arguments, **options)

    monkeypatch.setattr(streaming.File, "write", write)
    save(tmp_path)
    assert made == NAMES
    assert contents(tmp_path) == written[0]


def test_a_part_of_another_model_is_no_model(tmp_path, written):
    save(tmp_path, 1)
    save(tmp_path, 0, part=(0, 3))
    mixed = contents(tmp_path)
    assert sorted(mixed) == NAMES
    assert 0 < sum(mixed[name] == written[0][name] for name in NAMES) < FILES
    save(tmp_path, 0, part=(2, 3))
    save(tmp_path, 0, part=(1, 3))
    assert contents(tmp_path) == written[0]


def test_one_file_where_an_index_was(tmp_path):
    (tmp_path / INDEX).write_text("{}")
    init_params({"w": 3}, {"*": "ones"}, seed=0, out=tmp_path, max_shard_size=100)
    assert list(contents(tmp_path)) == ["model.safetensors"]


@pytest.mark.parametrize("other", ["model.safetensors", "model-00002-of-00005.safetensors"])
def test_files_that_would_not_be_replaced(other, tmp_path):
    (tmp_path / other).write_bytes(b"precious")
    (tmp_path / INDEX).write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    before = contents(tmp_path)
    with pytest.raises(
        FileExistsError, match=f"files of another model or layout, remove them first: {other}"
    ):
        save(tmp_path)
    assert contents(tmp_path) == before


def test_files_of_no_model_stay(tmp_path, written):
    others = ["config.json", "model-a.safetensors", "my-model.safetensors", "model.safetensors.1234567.tmp"]
    for name in others:
        (tmp_path / name).write_text("precious")
    save(tmp_path)
    found = contents(tmp_path)
    assert {name: found[name] for name in written[0]} == written[0]
    assert found.keys() == {*written[0], *others}


def test_what_killed_processes_have_left_is_removed_by_who_does_their_part(tmp_path, written):
    left = [f"{name}.0123abcd.tmp" for name in (*NAMES, INDEX)]
    for name in left:
        (tmp_path / name).write_bytes(b"incomplete")
    save(tmp_path, part=(1, 2))
    mine = [name for name in NAMES if (tmp_path / name).exists()]
    assert 0 < len(mine) < FILES
    assert {name for name in left if not (tmp_path / name).exists()} == {
        f"{name}.0123abcd.tmp" for name in mine
    }
    save(tmp_path, part=(0, 2))
    assert contents(tmp_path) == written[0]


def test_a_file_is_where_the_directory_should_be(tmp_path):
    (tmp_path / "model").write_text("precious")
    with pytest.raises(FileExistsError):
        save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "precious"


# --- what goes wrong -----------------------------------------------------------------------------


def state(directory, written):
    """Give the contents, of which everything that has a final name must be right."""
    found = contents(directory)
    final = {name: digest for name, digest in found.items() if not name.endswith(".tmp")}
    assert all(digest in (written[0][name], written[1][name]) for name, digest in final.items())
    if INDEX in final:
        assert final in written.values()
    assert all(name[: -len(".0123abcd.tmp")] in written[0] for name in found.keys() - final.keys())
    return found


@needs_posix
@pytest.mark.parametrize("seed", range(12))
def test_killed_and_started_again(seed, tmp_path, writers, written):
    """At random moments, alone or two at once, in an empty directory or in that of another model."""
    rng = random.Random(seed)
    if seed % 3 == 2:
        save(tmp_path, 1)
    parts = [(0, 2), (1, 2)] if seed % 2 else [None]
    begin = time.monotonic()
    assert writers.run(tmp_path / "clock") == "done"
    duration = time.monotonic() - begin
    for path in (tmp_path / "clock").iterdir():
        path.unlink()
    (tmp_path / "clock").rmdir()
    for _ in range(3):
        started = [writers.start(tmp_path, part) for part in parts]
        for process, _ in started:
            time.sleep(rng.uniform(0, 0.5) * duration)
            process.kill()
        for one in started:
            writers.end(one)
        state(tmp_path, written)
    assert [writers.end(writers.start(tmp_path, part)) for part in parts] == ["done"] * len(parts)
    assert contents(tmp_path) == written[0]


@needs_posix
def test_a_limit_to_the_size_of_files(tmp_path, writers, written):
    """Of what falls to each process, what is small enough gets done; the rest does not look as if it were."""
    assert writers.run(tmp_path, None, 700_000) == errno.EFBIG
    found = state(tmp_path, written)
    assert INDEX not in found
    assert not [name for name in found if name.endswith(".tmp")]
    assert writers.run(tmp_path) == "done"
    assert contents(tmp_path) == written[0]


@pytest.mark.parametrize("number", [1, 10, 30, 100])
def test_a_full_disk(number, tmp_path, written, monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", 1 << 13)
    real, numbers = storage.Path.open, itertools.count(1)

    class Full(io.FileIO):
        def write(self, data):
            if next(numbers) >= number:
                raise OSError(errno.ENOSPC, "no room")
            return super().write(data)

    def opened(path, mode="r", *arguments):
        return Full(path, mode) if "+" in mode else real(path, mode, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(storage.Path, "open", opened)
        with pytest.raises(OSError, match="no room"):
            save(tmp_path, num_threads=2)
    found = state(tmp_path, written)
    assert set(found) < set(NAMES)
    save(tmp_path)
    assert contents(tmp_path) == written[0]


def test_a_part_needs_a_seed(tmp_path):
    with pytest.raises(ValueError, match="seed must be given with part"):
        init_params({"w": (4, 2)}, {"*": "normal"}, seed=None, out=tmp_path, max_shard_size=8, part=(0, 2))
    assert not list(tmp_path.iterdir())


def test_no_room_for_all_that_is_missing(tmp_path, monkeypatch):
    """It is known before anything is drawn; what is there already counts."""
    save(tmp_path / "other", part=(1, 2))
    need = sum(path.stat().st_size for path in (tmp_path / "other").iterdir())
    tmp_path /= "model"
    save(tmp_path, part=(0, 2))
    before = contents(tmp_path)
    real = streaming.File.write

    def room(free):
        monkeypatch.setattr(
            streaming.shutil, "disk_usage", lambda _: streaming.shutil._ntuple_diskusage(0, 0, free)
        )

    monkeypatch.setattr(streaming.File, "write", None)
    room(need - 1)
    with pytest.raises(OSError, match=f"{need} bytes to write, {need - 1} are free") as caught:
        save(tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert contents(tmp_path) == before
    monkeypatch.setattr(streaming.File, "write", real)
    room(need)
    save(tmp_path)
    room(max(path.stat().st_size for path in tmp_path.iterdir()))
    save(tmp_path, 1)  # each file takes the place of another


@pytest.mark.parametrize("count", [1, 100, 300])
def test_interrupted(count, tmp_path, written, monkeypatch):
    monkeypatch.setattr(streaming, "PIECE", 1 << 13)
    calls = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self, _):
            calls.append(0)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(plans, "progress_bar", lambda *_: Bar())
            with pytest.raises(KeyboardInterrupt):
                save(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(state(tmp_path, written)) < set(NAMES)
    save(tmp_path)
    assert contents(tmp_path) == written[0]


@needs_posix
def test_everything_is_on_the_disk_in_time(tmp_path, monkeypatch):
    """A machine that stops must not leave a name without the bytes, nor an index before or after its time."""
    save(tmp_path, 1)
    events = []
    sync, replace, unlink = os.fsync, storage.Path.replace, storage.Path.unlink

    def synced(number):
        stat = os.fstat(number)
        events.append("directory" if stat.st_ino == tmp_path.stat().st_ino else (stat.st_ino, stat.st_size))
        sync(number)

    def replaced(path, target):
        assert events.pop() == (path.stat().st_ino, path.stat().st_size)
        events.append(target.name)
        return replace(path, target)

    def unlinked(path, **options):
        events.append(f"no {path.name}")
        unlink(path, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(storage.Path, "replace", replaced)
    monkeypatch.setattr(storage.Path, "unlink", unlinked)
    save(tmp_path)
    assert events == [f"no {INDEX}", "directory", *NAMES, "directory", INDEX]


def test_a_name_that_the_format_has_taken(tmp_path):
    """Known before anything is removed."""
    save(tmp_path)
    before = contents(tmp_path)
    for out in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match="can have the name __metadata__"):
            init_params({"w": 3, "__metadata__": 3}, {"*": "ones"}, seed=0, out=out, max_shard_size=12)
    assert contents(tmp_path) == before


def test_files_are_about_as_large_as_asked(tmp_path):
    save(tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.safetensors")}
    assert sum(sizes.values()) > model().nbytes
    assert math.isclose(max(sizes.values()), 600 * 512 * 4, rel_tol=0.01)  # the head, alone in its file
