"""`save` and `load`: the same network to the last bit, in a file that others can read, or a clear refusal."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import initcore as ic
from initcore import storage
from nn_helpers import ACTIVATIONS, X, bits, network, small_network

DTYPES = [np.float32, np.float64]


def same(a, b):
    return (repr(a), a.init, a.sizes) == (repr(b), b.init, b.sizes) and bits(a.parameters()) == bits(
        b.parameters()
    )


# --- there and back ------------------------------------------------------------------------------


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 7), min_size=2, max_size=5))
    depth = len(sizes) - 1
    names = st.sampled_from([*ACTIVATIONS, "leaky_relu(0.2)", "elu(alpha=0.1)"])
    hidden = draw(names | st.lists(names, min_size=depth - 1, max_size=depth - 1))
    bias = draw(st.booleans() | st.lists(st.booleans(), min_size=depth, max_size=depth))
    laws = ["he_normal", "zeros", ic.Normal(0.1, 1e-3), ic.Uniform(-1 / 3, 0.1), ic.TruncatedNormal()]
    laws += [ic.Constant(1e-300), ic.VarianceScaling(scale=1 / 7, mode="fan_avg", distribution="uniform")]
    return ic.MLP(
        sizes, activation=hidden, output_activation=draw(names), bias=bias, init=draw(st.sampled_from(laws)),
        dtype=draw(st.sampled_from(DTYPES)), seed=draw(st.integers(0, 2**64 - 1)),
    )  # fmt: skip


@given(networks(), st.data())
def test_a_network_comes_back_to_the_last_bit(tmp_path_factory, net, data):
    """Whatever it is and whatever its numbers are: subnormal, negative zero, infinite."""
    shapes = {name: value.shape for name, value in net.parameters().items()}
    odd = st.floats(width=32, allow_nan=False)
    name = data.draw(st.sampled_from(sorted(shapes)))
    some = data.draw(st.lists(odd, min_size=1, max_size=4))
    net.set_parameters({name: np.resize(some, shapes[name])})
    path = tmp_path_factory.mktemp("storage") / "net.safetensors"
    net.save(path)
    twin = ic.MLP.load(path)
    assert same(net, twin)
    assert twin.dtype == net.dtype
    x = np.linspace(-1, 1, 3 * net.sizes[0]).reshape(3, -1)
    assert twin.forward(x).tobytes() == net.forward(x).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_trains_on_as_if_nothing_had_been(activation, bias, dtype, tmp_path):
    net = network([3, 6, 2], activation, activation, bias=bias, dtype=dtype)
    net.save(tmp_path / "net")
    twin = ic.MLP.load(tmp_path / "net")
    assert same(net, twin)
    before = bits(net.parameters())
    for each in (net, twin):
        each.fit(X, X[:, :2], loss="mse", optimizer=ic.Adam(0.01), batch_size=4, epochs=3)
    assert bits(net.parameters()) == bits(twin.parameters()) != before


@pytest.mark.parametrize("dtype", DTYPES)
def test_others_can_read_the_file(dtype, tmp_path):
    net = small_network((3, 5, 2), dtype=dtype, bias=[True, False])
    path = tmp_path / "net.safetensors"
    net.save(path)
    tensors = load_file(path)
    assert {name: value.dtype for name, value in tensors.items()} == dict.fromkeys(net.parameters(), dtype)
    assert bits(tensors) == bits({name: net.parameters()[name] for name in tensors})
    with safe_open(path, "numpy") as file:
        config = json.loads(file.metadata()["initcore"])
    assert config["format"] == 1
    assert config["sizes"] == [3, 5, 2]
    assert config["bias"] == [True, False]


def test_paths_may_be_text_or_path(tmp_path):
    net = small_network()
    net.save(str(tmp_path / "text"))
    net.save(tmp_path / "path")
    assert (tmp_path / "text").read_bytes() == (tmp_path / "path").read_bytes()
    assert same(ic.MLP.load(str(tmp_path / "path")), ic.MLP.load(tmp_path / "text"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["path", "text"]


# --- what is no network --------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.safetensors"
    small_network().save(path)
    return path


def test_a_missing_file_or_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ic.MLP.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        small_network().save(tmp_path / "no" / "such" / "directory")
    with pytest.raises(IsADirectoryError):
        ic.MLP.load(tmp_path)


def test_a_file_that_was_cut_off(saved):
    data = saved.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1]:
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"net\.safetensors is not a safetensors file"):
            ic.MLP.load(saved)


@settings(max_examples=300)
@given(st.data())
def test_damage_is_refused_or_without_effect_on_what_is_not_damaged(tmp_path_factory, data):
    """Any byte of the description changed: a ValueError, or a network; never another exception."""
    path = tmp_path_factory.mktemp("storage") / "net"
    small_network().save(path)
    raw = bytearray(path.read_bytes())
    (header,) = struct.unpack("<Q", raw[:8])
    raw[data.draw(st.integers(0, 8 + header - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try:
        net = ic.MLP.load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert isinstance(net, ic.MLP)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04" * 30, b"{}", bytes(1000)])
def test_files_of_another_kind(content, tmp_path):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other is not a safetensors file"):
        ic.MLP.load(path)


CONFIG = {"format": 1, "sizes": [3, 4, 2], "activation": "tanh", "output_activation": "linear", "bias": True}
CONFIG |= {"init": ["VarianceScaling", {}], "dtype": "float32"}
FOREIGN = [
    (None, "does not describe a network that this version knows"),
    ({}, "does not describe a network that this version knows"),
    ({"initcore": "no json"}, "does not describe a network that this version knows"),
    ({"initcore": "[" * 100_000}, "does not describe a network that this version knows"),
    ({"initcore": "[]"}, "does not describe a network that this version knows"),
    ({"initcore": json.dumps({**CONFIG, "format": 2})}, "that this version knows"),
]
BAD_CONFIGS = [
    ({"sizes": [3, 4]}, "its tensors are"),
    ({"sizes": [3, 4, 2, 2]}, "layers.2.weight"),
    ({"sizes": [3, 4, 3]}, r"sizes \(3, 4, 3\) do not fit weights of shapes \[\(3, 4\), \(4, 2\)\]"),
    ({"sizes": []}, "sizes must be"),
    ({"sizes": 5}, "iterable"),
    ({"sizes": [3, 0, 2]}, "do not fit"),
    ({"sizes": [3, 4.5, 2]}, "do not fit"),
    ({"sizes": [3, 2**60, 2]}, "do not fit"),
    ({"sizes": None}, "iterable"),
    ({"bias": False}, "its tensors are"),
    ({"bias": 1}, "bias must be"),
    ({"activation": "swosh"}, 'unknown activation "swosh"'),
    ({"activation": ["tanh", "tanh"]}, "activation has 2 entries, expected 1"),
    ({"output_activation": None}, "output_activation must be str"),
    ({"dtype": "int8"}, "dtype must be float32 or float64"),
    ({"dtype": "nonsense"}, "nonsense"),
    ({"init": "zeros"}, "unpack"),
    ({"init": ["Mlp", {}]}, "Mlp is no initializer"),
    ({"init": ["__name__", {}]}, "initializer|class"),
    ({"init": ["nothing", {}]}, "nothing"),
    ({"init": [3, {}]}, "attribute name must be string"),
    ({"init": ["Normal", {"speed": 1}]}, "speed"),
    ({"init": ["Normal", {"std": -1.0}]}, "std"),
    ({"speed": 1}, "speed"),
]


@pytest.mark.parametrize(("metadata", "message"), FOREIGN)
def test_safetensors_of_others(metadata, message, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(small_network().parameters(), path, metadata)
    with pytest.raises(ValueError, match=f"foreign.safetensors {message}|foreign.safetensors .*{message}"):
        ic.MLP.load(path)


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS)
def test_descriptions_that_fit_no_network(changes, message, tmp_path):
    path = tmp_path / "net"
    save_file(small_network().parameters(), path, {"initcore": json.dumps({**CONFIG, **changes})})
    with pytest.raises(ValueError, match=f"net does not describe a network: .*({message})"):
        ic.MLP.load(path)


@pytest.mark.parametrize("name", list(CONFIG))
def test_descriptions_that_lack_something(name, tmp_path):
    path = tmp_path / "net"
    config = {k: v for k, v in CONFIG.items() if k != name}
    save_file(small_network().parameters(), path, {"initcore": json.dumps(config)})
    if name in {"sizes", "init", "format"}:
        with pytest.raises(ValueError, match="net does not describe a network"):
            ic.MLP.load(path)
    else:  # the library's default
        assert ic.MLP.load(path).sizes == (3, 4, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers.0.bias": np.zeros(4)}, "layers.0.bias has dtype float64, and the network float32"),
        ({"layers.0.bias": np.zeros(4, np.int32)}, "layers.0.bias has dtype int32"),
        ({"layers.0.bias": np.zeros(3, np.float32)}, r"layers.0.bias has shape \(4,\), got \(3,\)"),
        ({"layers.0.bias": np.zeros((4, 1), np.float32)}, r"got \(4, 1\)"),
        ({"other": np.zeros(4, np.float32)}, "its tensors are .*other"),
    ],
)
def test_tensors_that_do_not_fit(changes, message, tmp_path):
    path = tmp_path / "net"
    tensors = {**small_network().parameters(), **changes}
    save_file(tensors, path, {"initcore": json.dumps(CONFIG)})
    with pytest.raises(ValueError, match=message):
        ic.MLP.load(path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F16"])
def test_types_that_no_network_has(saved, dtype):
    """Of those, NumPy itself has but the last."""
    size = 1 if dtype == "F8_E4M3" else 2
    header, end = {"__metadata__": {"initcore": json.dumps(CONFIG)}}, 0
    for name, value in small_network().parameters().items():
        begin, end = end, end + size * value.size
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    saved.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))
    with pytest.raises(ValueError, match=r"net\.safetensors"):
        ic.MLP.load(saved)


# --- what is there stays there until the new file is whole ----------------------------------------


def test_a_file_is_replaced(saved):
    before = saved.read_bytes()
    other = small_network(seed=1)
    other.save(saved)
    assert saved.read_bytes() != before
    assert same(ic.MLP.load(saved), other)


class FullError(OSError):
    """What a full disk says."""


@pytest.mark.parametrize("stage", ["write", "replace", "interrupt"])
def test_a_file_survives_a_failed_save(saved, stage, monkeypatch):
    before = saved.read_bytes()
    error = KeyboardInterrupt if stage == "interrupt" else FullError

    class Failing:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise error

    if stage == "replace":

        def fail(*_):
            raise FullError

        monkeypatch.setattr(storage.Path, "replace", fail)
    else:
        real = storage.Path.open
        monkeypatch.setattr(storage.Path, "open", lambda self, *a: Failing(real(self, *a)))
    with pytest.raises(error):
        small_network(seed=1).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]  # and nothing is left over
    assert same(ic.MLP.load(saved), small_network())
