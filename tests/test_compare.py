"""`initcore compare`: what it finds, what it prints and draws, and how it refuses wrong input."""

import itertools
import re
import struct
import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import initcore as ic
from initcore import cli, datasets, plot
from initcore.cli import main
from initcore.compare import INITS, _distinct_units, compare, judge, runs
from initcore.nn import MLP
from initcore.optimizers import SGD, Adagrad, Adam, AdamW

SMALL = ["--data", "moons", "--layers", "2x16", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _no_windows():
    with mpl.rc_context():
        mpl.use("agg")
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def results(digits):
    """The default comparison, five hidden layers, on digits."""
    return {result.init: result for result in runs(digits)}


def run(capsys, *arguments):
    """Run the command; give its status, output and error output."""
    status = main(["compare", *arguments])
    return status, *capsys.readouterr()


def rows(output):
    """Split a table into the cells of its rows; the heading goes."""
    table = output.split("verdict\n", 1)[1].split("\n\n")[0]
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]


# What the teaching says.

VERDICTS = {
    "zeros": {"symmetric"},
    "constant(0.1)": {"symmetric"},
    "normal(0.01)": {"vanishing"},
    "normal(1)": {"exploding", "diverged"},
    "xavier_normal": {"healthy"},
    "he_normal": {"healthy"},
}


@pytest.mark.parametrize("init", INITS)
def test_a_deep_relu_network_shows_what_each_initialization_does(results, init):
    assert results[init].verdict in VERDICTS[init]


@pytest.mark.parametrize(
    ("activation", "init", "verdict"),
    [
        ("tanh", "zeros", "symmetric"),
        ("tanh", "constant(0.1)", "symmetric"),
        ("tanh", "normal(0.01)", "vanishing"),
        ("tanh", "normal(1)", "exploding"),
        ("tanh", "xavier_normal", "healthy"),
        ("sigmoid", "zeros", "symmetric"),
        ("sigmoid", "constant(0.1)", "symmetric"),
        # Its slope is at most 1/4: five layers of it starve the first, whatever the weights' scale.
        ("sigmoid", "xavier_normal", "vanishing"),
        ("leaky_relu", "he_normal", "healthy"),
    ],
)
def test_the_verdict_depends_on_the_activation(digits, activation, init, verdict):
    (result,) = runs(digits, [init], activation=activation)
    assert result.verdict == verdict


@pytest.mark.parametrize("data", ["moons", "circles", "blobs", "xor"])
def test_the_verdicts_hold_in_the_plane(data):
    for result in runs(datasets.load(data)):
        assert result.verdict in VERDICTS[result.init], result.reason


def test_depth_is_what_makes_a_small_initialization_vanish(digits):
    (shallow,) = runs(digits, ["normal(0.01)"], layers=(16,))
    assert shallow.verdict == "healthy"
    assert shallow.accuracy > 0.8


@pytest.mark.parametrize("layers", [(37, 50, 1, 9), (128,)])
@pytest.mark.parametrize("init", ["zeros", "constant(0.1)", "constant(-2)"])
def test_equal_units_stay_equal_to_the_last_bit(digits, layers, init):
    (result,) = runs(digits, [init], layers=layers, activation="tanh", optimizer=Adam(0.01), epochs=2)
    assert result.distinct_units == (1,) * len(layers)
    assert result.verdict == "symmetric"


def test_units_differ_by_a_bit_of_weight_or_bias():
    w, b = np.ones((3, 6), np.float32), np.zeros(6, np.float32)
    w[2, 1] = np.nextafter(np.float32(1), np.float32(2))
    w[:, 3:5] = np.nan  # a training that diverged
    b[5] = 1e-30
    assert _distinct_units({"layers.0.weight": w, "layers.0.bias": b}, 0) == 4


def test_random_units_are_distinct(results):
    for init in ("normal(0.01)", "xavier_normal", "he_normal"):
        assert results[init].distinct_units == results[init].hidden_units == (128,) * 5


def test_the_results_are_those_of_the_network_itself(digits):
    (result,) = runs(digits, ["xavier_normal"], layers=(20, 12), epochs=3, seed=5)
    x, t = digits.x_train, digits.y_train
    net = MLP([64, 20, 12, 10], init="xavier_normal", seed=5)
    for ours, theirs in zip(result.activations, net.activations(x[:1000]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    _, gradients = net.loss_and_grad(x[:1000], t[:1000], loss="softmax_cross_entropy")
    norms = [
        np.sqrt(sum(np.square(gradients[f"layers.{i}.{kind}"]).sum() for kind in ("weight", "bias")))
        for i in range(3)
    ]
    np.testing.assert_allclose(result.gradient_norms, norms, rtol=1e-5)
    assert result.gradient_ratio == pytest.approx(norms[0] / norms[2], rel=1e-5)
    assert result.initial_loss == net.evaluate(x, t, loss="softmax_cross_entropy")[0]
    net.fit(x, t, loss="softmax_cross_entropy", optimizer=SGD(0.05), batch_size=32, epochs=3, seed=5)
    assert result.loss == net.evaluate(x, t, loss="softmax_cross_entropy")[0]
    assert result.accuracy == np.mean(net.predict(digits.x_test) == digits.y_test)
    assert result.guess_loss == pytest.approx(np.log(10), rel=1e-3)


def test_the_backward_gain_is_that_of_the_error_signal(digits):
    """Of a linear network the errors are known: those of a layer, times its weights transposed."""
    (result,) = runs(digits, ["normal(0.2)"], layers=(30, 40), activation="linear", epochs=1)
    net = MLP([64, 30, 40, 10], activation="linear", init="normal(0.2)", seed=0)
    x, t = digits.x_train[:1000], digits.y_train[:1000]
    y = net.forward(x)
    y = np.exp(y - y.max(axis=1, keepdims=True))
    error = y / y.sum(axis=1, keepdims=True) - np.eye(10)[t]
    weights = net.parameters()
    back = error @ weights["layers.2.weight"].T @ weights["layers.1.weight"].T
    expected = np.linalg.norm(back) / np.linalg.norm(error)
    assert result.backward_gain == pytest.approx(expected, rel=0.5)
    assert result.forward_gain == pytest.approx(result.activations[-1].std(), rel=0.05)


FINE = {
    "forward_gain": 1.0,
    "backward_gain": 1.0,
    "distinct_units": (8, 8),
    "hidden_units": (8, 8),
    "initial_loss": 2.5,
    "loss": 0.1,
    "guess_loss": 2.3,
    "epochs": 10,
}


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({}, "healthy", "from 2.5 to 0.1"),
        ({"loss": 2.2}, "healthy", "another learning rate"),
        ({"distinct_units": (8, 1)}, "symmetric", "8 of them work like one"),
        ({"distinct_units": (1, 8), "loss": np.nan}, "symmetric", "work like one"),
        ({"distinct_units": (1, 1), "hidden_units": (1, 1)}, "healthy", ""),
        (
            {"distinct_units": (1, 1), "forward_gain": 0.0, "backward_gain": 0.0},
            "symmetric",
            "no signal comes through",
        ),
        ({"loss": np.nan, "epochs": 3}, "diverged", "in epoch 3"),
        ({"loss": np.inf}, "diverged", "finite"),
        ({"loss": 20.0}, "diverged", "from 2.5 to 20"),
        ({"forward_gain": 6.0}, "exploding", "multiplied by 6"),
        ({"backward_gain": 50.0}, "exploding", "the error by 50"),
        ({"backward_gain": np.nan}, "exploding", ""),
        ({"forward_gain": np.inf, "backward_gain": 0.0}, "exploding", ""),
        ({"forward_gain": 1e-3, "loss": 2.3}, "vanishing", "multiplied by 0.001"),
        ({"backward_gain": 1e-3, "loss": 2.3}, "vanishing", "the error by 0.001"),
        ({"forward_gain": 1e-3}, "healthy", ""),
        ({"forward_gain": 0.0, "backward_gain": 0.0, "loss": 2.3}, "vanishing", ""),
    ],
)
def test_the_verdict_follows_from_the_numbers(changes, verdict, reason):
    found, why = judge(**{**FINE, **changes})
    assert found == verdict
    assert reason in why


# The command.


def test_one_row_for_each_default_scheme(capsys):
    status, out, err = run(capsys, *SMALL)
    assert (status, err) == (0, "")
    table = rows(out)
    assert [row[0] for row in table] == list(INITS)
    assert {len(row) for row in table} == {9}
    assert table[0] == ["zeros", "0", "0", "0", "2/32", *table[0][5:7], table[0][7], "symmetric"]
    assert "moons: 1600 training and 400 test samples, 2 features, 2 classes" in out
    assert "network: 2-16-16-2, relu, float32" in out
    assert "SGD(lr=0.05), batches of 32, 2 epochs, seed 0" in out
    reasons = out.split("why:\n")[1].splitlines()
    assert [line.split()[0] for line in reasons] == list(INITS)
    assert [line.split()[1] for line in reasons] == [row[-1] + ":" for row in table]


def test_the_same_seed_prints_the_same_but_for_the_time(capsys):
    def timeless(*arguments):
        status, out, _ = run(capsys, *SMALL, *arguments)
        assert status == 0
        return re.sub(r" +\d+\.\d\ds  ", "  ", out)

    first = timeless("--seed", "3")
    assert timeless("--seed", "3") == first
    assert timeless("--seed", "3", "--threads", "1") == first
    assert timeless("--seed", "4") != first


def test_the_table_is_that_of_compare_with_the_same_seed(capsys):
    _, out, _ = run(capsys, *SMALL, "--seed", "6", "--init", "he_normal")
    data = datasets.load("moons", 6)
    (same,) = compare(data, ["he_normal"], layers=(16, 16), epochs=2, seed=6)
    (other,) = compare(data, ["he_normal"], layers=(16, 16), epochs=2, seed=7)
    ((_, _, _, _, _, loss, *_),) = rows(out)
    assert loss == f"{same.loss:.4g}" != f"{other.loss:.4g}"


def test_every_option_has_its_effect(capsys):
    status, out, err = run(
        capsys,
        *("--data", "xor", "--init", "he_uniform,variance_scaling(2, mode='fan_out')", "lecun_normal"),
        *("--layers", "2x8,4", "--activation", "leaky_relu(0.2)", "--epochs", "3"),
        *("--optimizer", "sgd(0.1, momentum=0.9)", "--batch-size", "100", "--seed", "9"),
        *("--dtype", "float64", "--threads", "2"),
    )
    assert (status, err) == (0, "")
    names = ["he_uniform", "variance_scaling(2, mode='fan_out')", "lecun_normal"]
    assert [row[0] for row in rows(out)] == names
    assert "network: 2-8-8-4-2, leaky_relu(0.2), float64" in out
    assert "SGD(lr=0.1, momentum=0.9), batches of 100, 3 epochs, seed 9" in out
    assert "20/20" in out


@pytest.mark.parametrize(
    ("text", "optimizer"),
    [
        ("sgd", SGD(0.05)),
        ("sgd(0.1)", SGD(0.1)),
        (" SGD( lr = 0.1 , momentum=0.9, nesterov=True)", SGD(0.1, 0.9, nesterov=True)),
        ("adam", Adam()),
        ("adagrad(lr_decay=0.1)", Adagrad(lr_decay=0.1)),
        ("adamw(0.01)", AdamW(0.01)),
        ("adam(0.01, betas=(0.8, 0.9))", Adam(0.01, (0.8, 0.9))),
    ],
)
def test_optimizers_are_read(text, optimizer):
    assert cli._optimizer(text) == optimizer


def test_a_bare_constant_gets_a_value_and_help_says_which(capsys):
    status, out, _ = run(capsys, *SMALL, "--init", "constant", "constant(0.1)")
    assert status == 0
    assert [row[0] for row in rows(out)] == ["constant(0.1)"]
    with pytest.raises(SystemExit) as exit_:
        main(["compare", "--help"])
    assert exit_.value.code == 0
    assert "constant alone is constant(0.1)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_a_file_is_compared_like_a_named_set(capsys, tmp_path, suffix):
    x, y = datasets.SOURCES["blobs"](0)
    path = tmp_path / f"mine.{suffix}"
    if suffix == "csv":
        words = np.array(["north", "east", "south", "west"])[y]
        text = [f"{a!r},{b!r},{word}" for (a, b), word in zip(x.tolist(), words, strict=True)]
        path.write_text("\n".join(["a,b,where", *text]))
    else:
        np.savez(path, x=x, y=y)
    status, out, _ = run(capsys, "--data", str(path), "--init", "he_normal", "--epochs", "3")
    assert status == 0
    assert "1600 training and 400 test samples, 2 features, 4 classes" in out
    ((*_, accuracy, _, verdict),) = rows(out)
    assert verdict == "healthy"
    assert float(accuracy.rstrip("%")) > 95


def png_size(path):
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_figures_are_written_where_out_says(capsys, tmp_path):
    out = tmp_path / "new" / "demo"
    status, text, err = run(capsys, *SMALL, "--init", "normal(9)", "he_normal", "--out", str(out))
    assert (status, err) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == ["activations.png", "cost.png"]
    for path in out.iterdir():
        assert f"wrote {path}" in text
        width, height = png_size(path)
        assert 500 <= width <= 2500
        assert 300 <= height <= 2500
        pixels = plt.imread(path)
        assert pixels[..., :3].std() > 0.05  # something is drawn


def test_no_figures_without_out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plot, "comparison_figures", lambda _: pytest.fail("drawn"))
    assert run(capsys, *SMALL, "--init", "zeros")[0] == 0
    assert not list(tmp_path.iterdir())


BAD = [
    (["--data", "cifar"], "unknown data set 'cifar': expected one of mnist, digits"),
    (["--data", "nowhere.csv"], "there is no file nowhere.csv"),
    (["--init", "he_normel"], "unknown initializer 'he_normel'"),
    (["--init", "normal(0.1"], "cannot read the initializer"),
    (["--init", "normal(-1)"], "std"),
    (["--init", "orthogonall", "zeros"], "unknown initializer"),
    (["--layers", "0"], "expected widths such as 256,256 or 5x256, got '0'"),
    (["--layers", "0x5"], "expected widths"),
    (["--layers", "5x"], "expected widths"),
    (["--layers", ""], "expected widths"),
    (["--layers", "-3"], "--layers"),
    (["--activation", "swosh"], "swosh"),
    (["--activation", "leaky_relu(nan)"], "leaky_relu"),
    (["--optimizer", "sdg"], "unknown optimizer 'sdg': expected one of sgd, adagrad, rmsprop, adam"),
    (["--optimizer", "sgd(0.1"], "cannot read the optimizer"),
    (["--optimizer", "sgd(-1)"], "lr must be"),
    (["--optimizer", "sgd(speed=1)"], "wrong arguments in the optimizer"),
    (["--optimizer", "sgd('fast')"], "optimizer"),
    (["--epochs", "0"], "expected an integer of at least 1, got '0'"),
    (["--epochs", "ten"], "expected an integer of at least 1, got 'ten'"),
    (["--batch-size", "0"], "expected an integer of at least 1"),
    (["--seed", "-1"], "expected an integer of at least 0"),
    (["--seed", str(2**64)], "below 18446744073709551616"),
    (["--threads", "0"], "expected an integer of at least 1"),
    (["--dtype", "float16"], "float16"),
    (["--nonsense"], "--nonsense"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_wrong_input_is_one_line_and_status_2(capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(MLP, "fit", lambda *_, **__: pytest.fail("trained before checking"))
    status, out, err = run(capsys, "--data", "moons", *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("initcore: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_command_is_needed(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("initcore: error: ")


def test_out_must_be_a_directory(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(MLP, "fit", lambda *_, **__: pytest.fail("trained before checking"))
    (tmp_path / "file").touch()
    status, _, err = run(capsys, *SMALL, "--out", str(tmp_path / "file"))
    assert status == 2
    assert str(tmp_path / "file") in err


def test_figures_without_matplotlib_name_the_extra(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(MLP, "fit", lambda *_, **__: pytest.fail("trained before checking"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = run(capsys, *SMALL, "--out", str(tmp_path))
    assert status == 2
    assert "pip install 'initcore[plot]'" in err


def test_interrupted_the_finished_rows_stay(capsys, monkeypatch):
    fit, calls = MLP.fit, itertools.count()

    def interrupted(self, *args, **kwargs):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(MLP, "fit", interrupted)
    status, out, err = run(capsys, *SMALL)
    assert status == 130
    assert [row[0] for row in rows(out)] == list(INITS[:2])
    assert len(out.split("why:\n")[1].splitlines()) == 2
    assert err == "initcore: interrupted\n"


def test_the_module_runs_as_the_command():
    command = [sys.executable, "-m", "initcore"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"initcore {ic.__version__}\n"
    wrong = subprocess.run([*command, "nonsense"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


# The pictures.


def test_cost_curves_show_results_and_mark_divergence(results):
    ax = plot.cost_curves(results.values())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [f"{r.init}: {r.verdict}" for r in results.values()] + ["guessing"]
    assert ax.get_yscale() == "log"
    assert ax.get_title(loc="left") == "2 of 6 initializations train this network"
    he = next(line for line in ax.lines if line.get_label().startswith("he_normal"))
    expected = [results["he_normal"].initial_loss, *results["he_normal"].history["loss"]]
    np.testing.assert_array_equal(he.get_ydata(), expected)
    crosses = [line for line in ax.lines if line.get_marker() == "X"]
    assert len(crosses) == sum(result.history.diverged for result in results.values()) == 1
    assert crosses[0].get_xdata() == [1]


def test_cost_curves_take_histories_and_axes(results):
    _, mine = plt.subplots()
    histories = {"one": results["he_normal"].history, "plain": {"loss": [1.0, 0.5, 0.0]}}
    ax = plot.cost_curves(histories, mine)
    assert ax is mine
    assert ax.lines[0].get_xdata()[0] == 1
    assert list(ax.lines[1].get_ydata()) == [1.0, 0.5]  # a logarithmic axis has no 0
    dashed = plot.cost_curves({"one": results["he_normal"].history}, validation=True).lines[1]
    np.testing.assert_array_equal(dashed.get_ydata(), results["he_normal"].history["val_loss"])


def test_a_training_without_a_finite_loss_is_a_cross_alone(results):
    divergence = ic.Divergence(0, 0, 1, "output", "the output of layers.1 became infinite or NaN")
    history = type(results["he_normal"].history)([{"loss": np.nan, "divergence": divergence}])
    ax = plot.cost_curves({"lost": history})
    ax.figure.canvas.draw()
    assert [line.get_marker() for line in ax.lines][-1] == "X"


def test_histograms_have_a_row_per_network_and_a_column_per_layer(results):
    rows_ = {name: result.activations for name, result in results.items()}
    grid = plot.activation_histograms(rows_)
    assert grid.shape == (6, 6)
    assert [ax.get_title(loc="left") for ax in grid[0]][::5] == ["layer 1", "output"]
    for panels, (name, layers) in zip(grid, rows_.items(), strict=True):
        assert panels[0].get_ylabel() == name
        assert len({ax.get_xlim() for ax in panels}) == 1
        for ax, values in zip(panels, layers, strict=True):
            assert ax.get_title(loc="right") == f"std {np.std(values, dtype=float):.2g}"
            shares = ax.patches[0].get_data().values
            assert 0.99 < shares.sum() <= 1 + 1e-9


def test_histograms_of_one_deep_network_choose_layers():
    layers = [np.full((4, 3), float(i)) for i in range(20)]
    grid = plot.activation_histograms(layers)
    assert grid.shape == (1, plot.MAX_COLUMNS)
    titles = [ax.get_title(loc="left") for ax in grid[0]]
    assert titles[0] == "layer 1"
    assert titles[-1] == "output"
    grid[0, 0].figure.canvas.draw()


def test_histograms_survive_what_is_not_finite():
    layers = [np.array([[np.inf, 1.0]]), np.array([[np.nan, np.nan]]), np.array([[1e30, -1e30]])]
    grid = plot.activation_histograms({"a": layers, "b": layers[:1]})
    grid[0, 0].figure.canvas.draw()
    assert not grid[1, 2].get_visible()


def test_histograms_refuse_nothing_and_wrong_axes():
    with pytest.raises(ValueError, match="no activations"):
        plot.activation_histograms([])
    _, axes = plt.subplots(2, 2)
    with pytest.raises(ValueError, match=r"expected axes of shape \(1, columns\)"):
        plot.activation_histograms([np.zeros((2, 2))], axes)
