"""`ic.diagnose`: verdicts, numbers beside the theory, networks, arrays and functions, what is printed."""

import json
import math
import pickle
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import initcore as ic
from initcore.diagnosis import VERDICTS

X = ic.normal((128, 100), seed=1, name="x")
LABELS = np.arange(128) % 10
DEEP = [100, *[64] * 12, 10]


def report(sizes=DEEP, x=X, t=None, activation="relu", init="he_normal", **kwargs):
    net = ic.MLP(sizes, activation=activation, init=init, seed=0, **kwargs)
    return ic.diagnose(net, x, t)


def with_bias(sizes, layer, value, **kwargs):
    net = ic.MLP(sizes, seed=0, **kwargs)
    net.set_parameters({f"layers.{layer}.bias": np.full(sizes[layer + 1], value)})
    return net


@pytest.mark.parametrize("t", [None, LABELS], ids=["random error", "labels"])
@pytest.mark.parametrize(
    ("activation", "init", "verdict"),
    [
        ("relu", "he_normal", "healthy"),
        ("tanh", "xavier_normal", "healthy"),
        ("selu", "lecun_normal", "healthy"),
        ("relu", "zeros", "zero trap"),
        ("tanh", "zeros", "zero trap"),
        ("sigmoid", "zeros", "symmetric"),
        ("relu", "constant(0.1)", "symmetric"),
        ("tanh", "constant(0.1)", "symmetric"),
        ("relu", "normal(0.01)", "vanishing"),
        ("relu", "xavier_normal", "vanishing"),
        ("sigmoid", "xavier_normal", "vanishing"),
        ("relu", "normal(1)", "exploding"),
        ("linear", "normal(1)", "exploding"),
        ("tanh", "normal(1)", "saturated"),
        ("tanh", "variance_scaling(10, 'fan_in', 'normal')", "chaotic"),
    ],
)
def test_the_classic_cases(activation, init, verdict, t):
    found = report(activation=activation, init=init, t=t)
    assert found.verdict == verdict
    assert found.healthy == (verdict == "healthy")
    assert {layer.verdict for layer in found.layers} <= set(VERDICTS)
    assert verdict in {layer.verdict for layer in found.layers}
    assert bool(found.advice) == (verdict != "healthy")


def test_the_lesson_of_the_halving_variance():
    found = report(sizes=[100, *[100] * 30, 10], init="xavier_normal")
    assert found.verdict == "vanishing"
    assert found.advice.startswith("use he_normal: the weights of layers.")
    assert "0.5" in found.advice  # times the variance that it gives
    # a mean over 29 layers: its scatter is that of the whole, sqrt(5 * 29 / 100) = 1.2, over 29
    assert abs(math.log(found.forward_growth / 0.5)) < 0.25
    assert abs(math.log(found.backward_growth / 0.5)) < 0.25


def test_dead_units():
    assert ic.diagnose(with_bias(DEEP, 3, -20.0), X).verdict == "dead"
    found = ic.diagnose(with_bias(DEEP, 3, -20.0), X)
    assert found.layers[3].verdict == "dead"
    assert found.reason.startswith("layers.3:")
    # more units than chance explains, but not all: 7/8 of 64
    net = ic.MLP(DEEP, seed=0)
    net.set_parameters({"layers.2.bias": np.where(np.arange(64) % 8, -20.0, 0.0)})
    assert ic.diagnose(net, X).layers[2].verdict == "dead"
    assert ic.diagnose(net, X).layers[2].dead >= 0.875


def test_inputs_that_become_alike_are_not_dead_units():
    # from the fifth layer on, float32 cannot tell the inputs apart
    found = report(sizes=[100, *[64] * 30, 10], activation="sigmoid", init="normal(0.01)")
    assert found.layers[20].dead == 1
    assert {layer.verdict for layer in found.layers} <= {"vanishing", "healthy"}
    outputs = ic.MLP([100, *[64] * 30, 10], activation="sigmoid", init="normal(0.01)", seed=0).activations(X)
    assert ic.diagnose(outputs[:4], X).verdict == "vanishing"


def test_equal_units_one_pair_of_them():
    net = ic.MLP(DEEP, seed=0)
    p = net.parameters()
    p["layers.4.weight"][:, 7] = p["layers.4.weight"][:, 3]
    net.set_parameters(p)
    found = ic.diagnose(net, X)
    # their outgoing weights differ, and so do their gradients: they will part
    assert (found.layers[4].duplicates, found.layers[4].twins, found.verdict) == (2, 0, "healthy")
    p["layers.5.weight"][7] = p["layers.5.weight"][3]
    net.set_parameters(p)
    found = ic.diagnose(net, X)
    assert (found.layers[4].duplicates, found.layers[4].twins, found.verdict) == (2, 2, "symmetric")
    assert "2 of 64 units" in found.reason


def test_an_output_layer_of_zeros_is_no_trap():
    net = ic.MLP(DEEP, seed=0)
    net.set_parameters({"layers.12.weight": np.zeros((64, 10))})
    assert ic.diagnose(net, X, LABELS).verdict == "healthy"


def test_inputs_that_are_not_standardised():
    found = report(x=200 * X, t=LABELS)
    assert found.verdict == "exploding"
    assert "standardise the inputs" in found.advice


def test_an_activation_that_no_scale_helps():
    assert "another activation" in report(activation="sigmoid").advice


def test_overflow_is_exploding():
    found = report(sizes=[100, *[100] * 60, 10], init="normal(1)")
    assert found.verdict == "exploding"
    assert any(layer.nonfinite for layer in found.layers)
    str(found), found.to_html(), json.dumps(found.to_dict(), allow_nan=False)


def test_training_that_worked_stays_healthy():
    x = ic.normal((300, 2), seed=3)
    t = (x[:, 0] * x[:, 1] > 0).astype(int)
    net = ic.MLP([2, 32, 32, 2], activation="relu", init="he_normal", seed=0)
    recorder = ic.Recorder(net, x, t, every=5)
    net.fit(
        x,
        t,
        loss="softmax_cross_entropy",
        optimizer=ic.SGD(0.1),
        batch_size=16,
        epochs=60,
        callbacks=[recorder],
    )
    assert recorder.epochs == list(range(0, 61, 5))
    assert {r.verdict for r in recorder.reports} == {"healthy"}
    losses = [r.loss for r in recorder.reports]
    assert losses[-1] < 0.3 * losses[0]
    assert losses[-1] == net.loss_and_grad(x, t, loss="softmax_cross_entropy")[0]


def test_loss_is_chosen_by_the_targets():
    x = X[:, :3]
    for sizes, t, loss in [
        ([3, 4, 5], LABELS % 5, "softmax_cross_entropy"),
        ([3, 4, 1], LABELS % 2, "binary_cross_entropy"),
        ([3, 4, 2], X[:, 5:7], "mse"),
        ([3, 4, 1], X[:, 5], "mse"),
    ]:
        net = ic.MLP(sizes, seed=0)
        assert ic.diagnose(net, x, t).loss == net.loss_and_grad(x, t, loss=loss)[0]
    assert ic.diagnose(net, x, t, loss="mae").loss == net.loss_and_grad(x, t, loss="mae")[0]
    assert ic.diagnose(net, x).loss is None


@pytest.mark.parametrize("optimizer", [ic.SGD(0.1), ic.Adam(0.01), ic.RMSProp(0.01)])
def test_update_ratio_is_that_of_a_real_step(optimizer):
    net = ic.MLP([100, 32, 10], seed=0, dtype="float64")
    found = ic.diagnose(net, X, LABELS, optimizer=optimizer)
    before = net.parameters()
    net.fit(
        X, LABELS, loss="softmax_cross_entropy", optimizer=optimizer, batch_size=128, epochs=1, shuffle=False
    )
    after = net.parameters()
    for layer in found.layers:
        w, moved = before[f"{layer.name}.weight"], after[f"{layer.name}.weight"]
        assert layer.update_ratio == pytest.approx(np.linalg.norm(moved - w) / np.linalg.norm(w), rel=1e-6)


def test_numbers_of_networks_and_of_arrays_agree():
    net = ic.MLP([100, 32, 48, 10], activation="tanh", init="xavier_normal", seed=0, dtype="float64")
    found = ic.diagnose(net, X, LABELS)
    p, y = net.parameters(), net.activations(X)
    _, g = net.loss_and_grad(X, LABELS, loss="softmax_cross_entropy")
    names = [f"layers.{i}" for i in range(3)]
    dz = [np.exp(y[2]) / np.exp(y[2]).sum(axis=1, keepdims=True)]
    dz[0][np.arange(128), LABELS] -= 1
    dz[0] /= 128
    for i in (1, 0):
        dz.insert(0, dz[0] @ p[f"layers.{i + 1}.weight"].T * (1 - y[i] ** 2))
    arrays = ic.diagnose(
        dict(zip(names, y, strict=True)),
        X.astype(np.float64),
        activation=["tanh", "tanh", "linear"],
        gradients=dict(zip(names, dz, strict=True)),
        weights=[p[f"{name}.weight"] for name in names],
        weight_gradients=[g[f"{name}.weight"] for name in names],
    )
    assert arrays.verdict == found.verdict
    for a, b in zip(arrays.layers, found.layers, strict=True):
        for name in (
            "mean", "std", "skew", "mean_square", "dead", "effective_rank", "gradient_std", "gradient_norm",
            "weight_norm", "weight_gradient_norm", "weight_gradient_std", "duplicates", "twins", "saturated",
        ):  # fmt: skip
            one, other = getattr(a, name), getattr(b, name)
            assert one == other or one == pytest.approx(other, rel=1e-9, abs=1e-12), name
        np.testing.assert_allclose(a.sample, b.sample)


def test_arrays_alone():
    signal, layers = X, {}
    for i in range(20):
        signal = np.maximum(signal @ ic.xavier_normal((signal.shape[1], 64), seed=0, name=str(i)), 0)
        layers[f"block{i}"] = signal
    found = ic.diagnose(layers, activation="relu")
    assert found.verdict == "vanishing"
    assert "block19" in found.reason or "block18" in found.reason
    assert "he_normal" in found.advice
    assert found.backward_growth is None
    # sequences of tokens or pixels count as inputs
    deeper = ic.diagnose([v.reshape(32, 4, 64) for v in layers.values()])
    assert [a.std for a in deeper.layers] == [a.std for a in found.layers]


def test_arrays_of_equal_units_and_of_dead_ones():
    y = np.maximum(X @ ic.he_normal((100, 40), seed=1), 0)
    y[:, :5] = 0  # equal, but dead
    assert ic.diagnose([y, X]).verdict == "healthy"
    y[:, 6] = y[:, 7]
    found = ic.diagnose([y, X])
    assert found.verdict == "symmetric"
    assert found.reason == "layers.0: 2 of 40 units always give the output of another unit"


@pytest.mark.parametrize(
    ("gain", "activation", "verdict"),
    [(0.5, np.tanh, "vanishing"), (3.0, np.tanh, "chaotic"), (1.05, np.tanh, "healthy")],
)
def test_functions(gain, activation, verdict):
    x = ic.normal((64, 200), seed=0)
    weights = [ic.normal((200, 200), std=gain / math.sqrt(200), seed=0, name=str(i)) for i in range(16)]
    found = ic.diagnose([lambda y, w=w: activation(y @ w) for w in weights], x, activation="tanh")
    assert found.verdict == verdict
    assert all(layer.sensitivity is not None for layer in found.layers)


def test_tensors_are_taken_off_their_graph():
    class Tensor:
        def __init__(self, values):
            self.values = values

        def detach(self):
            return self

        def cpu(self):
            return self.values

    plain = ic.diagnose([X, X[:, :5]])
    assert [a.std for a in ic.diagnose([Tensor(X), Tensor(X[:, :5])]).layers] == [a.std for a in plain.layers]


def test_theory_stands_beside_the_measurement():
    odd = total = 0
    for activation, init in (("relu", "he_normal"), ("tanh", "xavier_normal"), ("gelu", "he_normal")):
        for seed in range(5):
            net = ic.MLP([100, *[96] * 5, 10], activation=activation, init=init, seed=seed)
            for layer in ic.diagnose(net, X).layers:
                assert {"mean", "std", "skew", "effective_rank", "gradient_std"} <= layer.expected.keys()
                total += len(layer.expected)
                odd += sum(map(layer.is_remarkable, layer.expected))
    assert odd < 0.05 * total
    # and of weights that are not what the theory is of, some are
    assert any(map(report(init="constant(0.1)").layers[0].is_remarkable, ("mean", "std")))


def test_theory_knows_of_biases():
    found = []
    for seed in range(5):
        net = ic.MLP([100, *[96] * 4, 10], activation="tanh", init="xavier_normal", seed=seed)
        biases = {
            n: ic.normal(v.shape, std=0.7, seed=seed, name=n)
            for n, v in net.parameters().items()
            if v.ndim == 1
        }
        net.set_parameters(biases)
        found += ic.diagnose(net, X).layers
    for name in ("std", "effective_rank", "gradient_std"):
        assert sum(layer.is_remarkable(name) for layer in found) <= 3  # of 25


def test_effective_rank_is_one_over_the_mean_squared_cosine():
    found = ic.diagnose(ic.MLP(DEEP, seed=0), X)
    for layer in (found.inputs, *found.layers):
        y = layer.sample.astype(np.float64)
        y /= np.linalg.norm(y, axis=1, keepdims=True)
        squares = (y @ y.T)[~np.eye(len(y), dtype=bool)] ** 2
        assert layer.effective_rank == pytest.approx(1 / squares.mean(), rel=1e-4)
    assert len(found.layers[0].sample) == 32


def test_what_is_printed():
    text = str(report(init="xavier_normal"))
    assert text.startswith("vanishing: layers.0 and ")
    assert "What to do: use he_normal" in text
    assert "±" in text
    assert max(map(len, text.splitlines())) <= 110
    _words, *blocks = text.split("\n\n")
    for block in blocks[:-1]:  # all layers in each, as columns
        assert [line.split()[0] for line in block.splitlines()[1:]] == [
            "inputs",
            *(f"layers.{i}" for i in range(13)),
        ]


class Tags(HTMLParser):
    VOID = frozenset({"meta", "line", "circle", "polyline", "polygon"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, _):
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("init", ["he_normal", "zeros", "normal(1)"])
def test_html_stands_alone_and_is_whole(init):
    found = report(init=init)
    for html in (found.to_html(), found._repr_html_(), ic.MLP([2, 2], seed=0)._repr_html_()):
        tags = Tags()
        tags.feed(html)
        assert not tags.open
        assert not {"script", "link", "iframe", "img"} & tags.seen
        assert "http" not in html
        assert "url(" not in html
    evil = ic.diagnose({"<script>alert(1)</script>": X})
    assert "<script>" not in evil.to_html()


def test_dict_and_pickle():
    found = report(t=LABELS)
    numbers = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert numbers["verdict"] == "healthy"
    assert numbers["layers"][3]["std"] == found.layers[3].std
    assert numbers["layers"][3]["expected"]["std"] == list(found.layers[3].expected["std"])
    copy = pickle.loads(pickle.dumps(found))
    assert copy.to_dict() == found.to_dict()
    assert str(copy) == str(found)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_change_nothing(threads):
    net = ic.MLP(DEEP, seed=0)
    found = ic.diagnose(net, X, LABELS, num_threads=threads)
    assert found.to_dict() == ic.diagnose(net, X, LABELS).to_dict()


def test_network_and_inputs_are_left_alone():
    net, x = ic.MLP(DEEP, seed=0), X.copy()
    before = net.parameters()
    ic.diagnose(net, x, LABELS, optimizer=ic.Adam(0.1))
    assert (x == X).all()
    assert all((before[name] == value).all() for name, value in net.parameters().items())


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    rows=st.integers(1, 40),
    activation=st.sampled_from(ic._core.nn_names()[0]),
    init=st.sampled_from(
        ["zeros", "ones", "he_normal", "normal(100)", "normal(1e-30)", "orthogonal", "normal(1e20)"]
    ),
    dtype=st.sampled_from(["float32", "float64"]),
    scale=st.sampled_from([0.0, 1.0, 1e-30, 1e15]),
    bias=st.booleans(),
)
def test_any_network_gets_an_answer(sizes, rows, activation, init, dtype, scale, bias):
    net = ic.MLP(sizes, activation=activation, init=init, bias=bias, dtype=dtype, seed=0)
    x = scale * ic.normal((rows, sizes[0]), seed=0, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ic.diagnose(net, x)
        str(found), found.to_html(), json.dumps(found.to_dict(), allow_nan=False)
    assert found.verdict in VERDICTS
    assert found.reason
    for layer in found.layers:
        assert layer.dead is None or 0 <= layer.dead <= 1
        assert layer.saturated is None or 0 <= layer.saturated <= 1
        assert layer.effective_rank is None or not layer.effective_rank < 1 - 1e-4
        assert layer.twins is None or 0 <= layer.twins <= layer.duplicates <= layer.width


NET = ic.MLP([3, 4, 2], seed=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ic.diagnose(NET), TypeError, "an MLP needs inputs"),
        (lambda: ic.diagnose(NET, X), ValueError, "3 inputs"),
        (lambda: ic.diagnose(NET, np.zeros((0, 3))), ValueError, "at least one"),
        (lambda: ic.diagnose(NET, np.full((2, 3), np.nan)), ValueError, "finite"),
        (lambda: ic.diagnose(NET, X[:, :3], LABELS), ValueError, "label"),
        (lambda: ic.diagnose(NET, X[:, :3], LABELS % 2, loss="nll"), ValueError, "nll"),
        (lambda: ic.diagnose(NET, X[:, :3], weights=[1, 2]), TypeError, "weights: not for an MLP"),
        (lambda: ic.diagnose(NET, X[:, :3], optimizer="adam"), TypeError, "optimizer must be"),
        (lambda: ic.diagnose("net", X), TypeError, "got str"),
        (lambda: ic.diagnose([]), ValueError, "no layer"),
        (
            lambda: ic.diagnose([X[0]]),
            ValueError,
            r"layers.0 must have shape \(batch, units\), none of them 0, got \(100,\)",
        ),
        (lambda: ic.diagnose([X, np.tanh]), TypeError, "layers.0 is no function"),
        (lambda: ic.diagnose([np.tanh]), TypeError, "functions need inputs"),
        (lambda: ic.diagnose([np.tanh], X, weights=[X]), TypeError, "not for functions"),
        (lambda: ic.diagnose([X], t=LABELS), TypeError, "t: not for"),
        (lambda: ic.diagnose([X, X], activation=["relu"]), ValueError, "1 entries, but there are 2 layers"),
        (lambda: ic.diagnose([X], activation="nope"), ValueError, "nope"),
        (
            lambda: ic.diagnose([X], gradients=[X[:, :2]]),
            ValueError,
            r"gradient of layers.0 must have shape \(128, 100\)",
        ),
        (lambda: ic.diagnose([X], weights=[X[:, :2]]), ValueError, r"\(any, 100\)"),
        (lambda: ic.diagnose([X], weight_gradients=[X]), ValueError, "the weight is not given"),
        (lambda: ic.diagnose({"a": X}, gradients={"b": X}), ValueError, "no layer 'b', only a"),
        (lambda: ic.diagnose([X.astype(complex)]), TypeError, "real numbers"),
        (lambda: ic.Recorder(NET, X[:, :3], every=0), ValueError, "every"),
        (lambda: ic.Recorder("net", X), TypeError, "MLP"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.peers
def test_layers_of_pytorch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Linear(100, 100), torch.nn.ReLU()]
    for _ in range(14):
        layers += [torch.nn.Linear(100, 100), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers)
    found = ic.diagnose(list(model), torch.tensor(X))  # PyTorch's own scheme has a sixth of He's variance
    assert found.verdict == "vanishing"

    outputs = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, __, y, name=name: outputs.setdefault(name, y))
    model(torch.tensor(X))
    assert ic.diagnose(outputs, activation="relu").verdict == "vanishing"


@pytest.mark.peers
def test_layers_of_jax():
    jnp = pytest.importorskip("jax.numpy")
    weights = [ic.he_normal((100, 100), seed=0, name=f"{i}") for i in range(6)]
    layers = [lambda y, w=w: jnp.maximum(y @ w, 0) for w in weights]
    assert ic.diagnose(layers, jnp.asarray(X), activation="relu").verdict == "healthy"


@pytest.mark.parametrize("quantity", ["std", "gradient_std"])
def test_pictures_have_measurement_and_theory_on_one_scale(quantity):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    found = report(sizes=[100, *[100] * 6, 10], t=LABELS)
    ax = ic.plot.std_with_depth(found, figure.subplots(), quantity=quantity)
    lines = [np.asarray(line.get_ydata()) for line in ax.lines if len(line.get_ydata()) == 7]
    assert len(lines) == 2
    predicted, measured = lines
    np.testing.assert_allclose(measured, predicted, rtol=0.5)
    assert quantity == "std" or measured[-1] == predicted[-1] == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.2.bias"])
def test_numbers_that_are_not_finite_are_shown(name, value):
    net = ic.MLP([100, 32, 32, 10], seed=0)
    broken = net.parameters()[name]
    broken[..., 0] = value
    net.set_parameters({name: broken})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ic.diagnose(net, X, LABELS)
        assert found.verdict == "exploding"
        assert "begin anew" in found.advice
        str(found), found.to_html(), json.dumps(found.to_dict(), allow_nan=False)


def test_orthogonal_inputs_have_the_rank_of_their_number():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ic.diagnose(ic.MLP([20, 32, 10], seed=0), np.eye(20)).inputs.effective_rank == 20


def test_functions_may_work_in_place_and_take_lists():
    w, given = ic.he_normal((100, 100), seed=0), X.copy()
    layers = [lambda y: y @ w, lambda y: np.maximum(y, 0, out=y), lambda y: y @ w]
    found = ic.diagnose(layers, given)
    assert (given == X).all()
    assert found.layers[0].mean == pytest.approx(float((X @ w).mean()), rel=1e-3)
    assert [a.std for a in ic.diagnose(layers, X.tolist()).layers] == pytest.approx(
        [a.std for a in found.layers], rel=1e-4
    )
    whole = ic.diagnose([lambda t: w[t]], np.arange(50)[:, None])  # an embedding
    assert whole.layers[0].sensitivity is None


def test_functions_with_chance_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"layers.1 gives two outputs for one input: .*model.eval\(\)"):
        ic.diagnose([lambda y: 2 * y, lambda y: y * (rng.random(y.shape) < 0.5)], X)


def test_columns_of_other_units_saturate_and_are_to_be_standardised():
    x = X.copy()
    x[:, 5], x[:, 6] = 50 + 5 * x[:, 5], 2000 + 300 * x[:, 6]
    found = report(sizes=[100, 64, 64, 10], x=x, activation="tanh", init="xavier_normal")
    assert found.verdict == "saturated"
    assert "standardise the inputs" in found.advice
    tiny = report(sizes=[100, 32, 32, 10], x=1e-4 * X)
    assert tiny.verdict == "vanishing"
    assert "standardise the inputs" in tiny.advice


@pytest.mark.parametrize("factor", [1e-2, 1e-3])
def test_a_small_output_layer_is_no_sickness(factor):
    net = ic.MLP([100, 32, 32, 10], seed=0)
    net.set_parameters({"layers.2.weight": factor * net.parameters()["layers.2.weight"]})
    assert ic.diagnose(net, X, LABELS).healthy


def test_what_has_learned_may_be_sure_of_itself():
    x = X[:, :2]
    t = (x[:, 0] > 0).astype(float)
    net = ic.MLP([2, 16, 1], activation="tanh", init="xavier_normal", seed=0)
    net.set_parameters({n: 40 * v for n, v in net.parameters().items()})
    options = {"loss": "binary_cross_entropy", "optimizer": ic.Adam(0.05), "batch_size": 128, "epochs": 400}
    net.fit(x, t, **options)
    for targets in (t, t.astype(int), t[:, None]):
        assert ic.diagnose(net, x, targets, loss="binary_cross_entropy").healthy
    assert ic.diagnose(net, x).verdict == "saturated"


def test_the_loss_of_guessing():
    from initcore.guessing import loss_of_guessing as guess

    entropy = math.log(10)  # of labels that are about even
    assert guess("softmax_cross_entropy", LABELS) == pytest.approx(entropy, abs=1e-3)
    assert guess("softmax_cross_entropy", np.eye(10)[LABELS]) == pytest.approx(entropy, abs=1e-3)
    for t in (LABELS % 2, (LABELS % 2).astype(float), (LABELS % 2)[:, None]):
        assert guess("binary_cross_entropy", t) == pytest.approx(math.log(2))
    assert guess("mse", X) == pytest.approx(1, abs=0.1)
    assert guess("mae", X) is None


def test_gradients_that_are_all_zero():
    y = [np.maximum(X @ ic.he_normal((100, 100), seed=i), 0) for i in range(3)]
    assert ic.diagnose(y, X, gradients=[0 * v for v in y]).verdict == "vanishing"


def test_advice_knows_what_the_network_has():
    few = report(sizes=[100, *[2] * 40, 10], activation="tanh", init="xavier_normal")
    assert few.verdict == "vanishing"
    assert "wider layers" in few.advice
    net = ic.MLP([100, 32, 32, 10], init="he_normal", seed=0)
    net.set_parameters({n: 1e3 * v for n, v in net.parameters().items()})
    assert "lower the learning rate" in ic.diagnose(net, X).advice
    assert "that he_normal gave them" in ic.diagnose(net, X).advice


def test_a_report_is_short_in_a_session():
    assert repr(report()) == "Diagnosis(verdict='healthy', layers=13, batch=128)"
    assert len(repr(report().layers[0])) < 1500


def test_activations_by_name():
    layers = {"a": np.tanh(X), "b": X}
    found = ic.diagnose(layers, activation={"a": "tanh"})
    assert [layer.activation for layer in found.layers] == ["tanh", None]
    with pytest.raises(TypeError, match="a loss needs targets"):
        ic.diagnose(NET, X[:, :3], loss="mse")
