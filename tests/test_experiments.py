"""Experiments: what each one teaches, by its numbers; what is printed, written and refused."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from scipy import stats

import initcore as ic
from initcore import experiments
from initcore.cli import main
from initcore.experiments import EXPERIMENTS, Table, depth_limit, example, run
from initcore.experiments.common import there_and_back

#: Sizes that take a second or two.
SMALL = {
    "depth": {"networks": 3, "gains": (0.5, 1.5)},
    "depth-limit": {"data": "digits", "variances": {"tanh": (1.0, 2.0)}, "depths": (2, 4), "epochs": 1},
    "example": {"steps": 5},
    "optimizers": {"layers": (16,), "epochs": 2},
    "pitfalls": {"data": ("moons", "xor"), "layers": (8, 8), "epochs": 2},
    "signal": {"data": "digits", "schemes": ("he_normal",), "layers": 2, "width": 16, "epochs": 2},
}


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context():
        mpl.use("agg")
        yield


def test_every_experiment_is_run_here():
    assert SMALL.keys() == EXPERIMENTS.keys()


# What they teach. A comparison with a prediction by chance has a false-alarm rate below 1e-10.


@pytest.fixture(scope="module")
def pitfalls():
    found = run("pitfalls").numbers["runs"]
    return {(each["data"], each["init"]): each for each in found}


@pytest.mark.parametrize("data", ["blobs", "circles", "moons", "xor", "spirals"])
def test_zeros_never_get_below_the_loss_of_guessing_and_he_does(pitfalls, data):
    for init in ("zeros", "normal(0.01)"):
        stuck = pitfalls[data, init]
        # The output's bias alone moves, with the batches.
        assert stuck["loss"] >= stuck["guess_loss"] * (1 - 1e-6)
        assert stuck["loss"] == pytest.approx(stuck["guess_loss"], rel=0.01)
    assert pitfalls[data, "he_normal"]["loss"] < 0.05 * pitfalls[data, "he_normal"]["guess_loss"]
    assert pitfalls[data, "he_normal"]["accuracy"] > 0.97
    assert pitfalls[data, "constant(0.1)"]["accuracy"] < 0.9
    too_large = pitfalls[data, "normal(1)"]
    assert too_large["initial_loss"] > 50 * too_large["guess_loss"]
    assert too_large["history"].diverged


@pytest.mark.parametrize("data", ["blobs", "circles", "moons", "xor", "spirals"])
def test_pitfalls_have_the_verdict_they_are_known_by(pitfalls, data):
    verdicts = ["zero trap", "symmetric", "vanishing", "exploding", "healthy"]
    inits = ["zeros", "constant(0.1)", "normal(0.01)", "normal(1)", "he_normal"]
    assert [pitfalls[data, init]["verdict"] for init in inits] == verdicts


@pytest.mark.parametrize("data", ["blobs", "moons"])
def test_a_constant_makes_layers_of_one_unit(pitfalls, data):
    parameters = pitfalls[data, "constant(0.1)"]["net"].parameters()
    for layer in range(5):
        weight = parameters[f"layers.{layer}.weight"]
        assert (weight == weight[:, :1]).all()


@pytest.fixture(scope="module")
def depth():
    found = run("depth", networks=100).numbers["runs"]
    return {(each["kind"], each["gain"]): each for each in found}


@pytest.mark.parametrize("a", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_multiples_of_the_identity_grow_as_powers(depth, a):
    fixed = depth["a I", a]
    powers = a ** np.arange(1, 10)
    if a in {0.5, 1.0}:  # nothing is rounded
        np.testing.assert_array_equal(np.sqrt(fixed["signal"][0]), powers)
    np.testing.assert_allclose(np.sqrt(fixed["signal"][0]), powers, rtol=1e-14)
    np.testing.assert_allclose(np.sqrt(fixed["gradient"][0]), powers[::-1] / a, rtol=1e-14)
    # Orthogonal ones for every draw.
    turned = depth["orthogonal", a]
    assert turned["signal"].shape == (100, 9)
    np.testing.assert_allclose(np.sqrt(turned["signal"]), np.tile(powers, (100, 1)), rtol=1e-13)
    np.testing.assert_allclose(np.sqrt(turned["gradient"]), np.tile(powers[::-1] / a, (100, 1)), rtol=1e-13)


@pytest.mark.parametrize(
    ("kind", "a"),
    [*(("normal", a) for a in (0.5, 0.9, 1.0, 1.1, 1.5)), ("he_normal", None), ("xavier_normal", None)],
)
def test_random_weights_grow_within_the_error_bars(depth, kind, a):
    drawn = depth[kind, a]
    for found, theory, last in (
        ("signal", drawn["prediction"].y, -1),
        ("gradient", drawn["prediction"].dz, 0),
    ):
        factor = drawn[found][:, last]
        # Log-normal: with the mean and standard deviation that are predicted, the logarithm is normal.
        variance = np.log1p((theory.std[last] / theory.mean[last]) ** 2)
        centre = np.log(theory.mean[last]) - variance / 2
        z = (np.log(factor).mean() - centre) / np.sqrt(variance / len(factor))
        assert abs(z) < 7
        # The standard deviation of 100 draws is right to 1/14.
        assert 0.5 < np.log(factor).std(ddof=1) / np.sqrt(variance) < 1.7
    power = {None: {"he_normal": 1.0, "xavier_normal": 0.5**9}.get(kind)}.get(a, (a or 0) ** 18)
    assert drawn["prediction"].y.mean[-1] == pytest.approx(power, rel=1e-9)


def test_the_signals_of_depth_are_those_of_the_network():
    net = ic.MLP([7, 5, 3], activation="relu", init="he_normal", seed=1, dtype="f8")
    x, t = np.random.default_rng(0).normal(size=(4, 7)), np.zeros((4, 3))
    outputs, errors = there_and_back(net, x, 2 * net.forward(x) / 12)
    for ours, theirs in zip(outputs, net.activations(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    _, gradients = net.loss_and_grad(x, t, loss="mse")
    for layer, (below, dz) in enumerate(zip([x, outputs[0]], errors, strict=True)):
        np.testing.assert_allclose(below.T @ dz, gradients[f"layers.{layer}.weight"], rtol=1e-12)
        np.testing.assert_allclose(dz.sum(axis=0), gradients[f"layers.{layer}.bias"], rtol=1e-12)


@pytest.fixture(scope="module")
def signal():
    found = run("signal", epochs=2).numbers["runs"]
    return {(each["activation"], each["scheme"]): each for each in found}


def test_the_signal_dies_saturates_overflows_or_stays(signal):
    def first_and_last(activation, scheme):
        layers = signal[activation, scheme]["reports"][0].layers[:5]
        return layers[0].std, layers[-1].std

    for activation in ("tanh", "relu"):
        first, last = first_and_last(activation, "normal(0.01)")
        assert last < 1e-3 * first
        assert signal[activation, "normal(0.01)"]["accuracy"] < 0.2
        assert signal[activation, "normal(0.01)"]["reports"][0].verdict == "vanishing"
        for scheme in ("xavier_normal", "he_normal", "lecun_normal"):
            assert signal[activation, scheme]["accuracy"] > 0.8
    assert signal["tanh", "normal(1)"]["reports"][0].layers[4].saturated > 0.7
    assert signal["tanh", "normal(1)"]["reports"][0].verdict == "saturated"
    assert signal["tanh", "normal(1)"]["accuracy"] < 0.5
    first, last = first_and_last("relu", "normal(1)")
    assert last > 1e3 * first
    assert signal["relu", "normal(1)"]["diverged"]
    for activation, scheme in (("tanh", "xavier_normal"), ("relu", "he_normal")):
        first, last = first_and_last(activation, scheme)
        assert 0.4 < last / first < 2.5


@pytest.mark.parametrize(
    "scheme", ["normal(0.01)", "normal(1)", "xavier_normal", "he_normal", "lecun_normal"]
)
def test_the_signal_is_as_large_as_theory_says(signal, scheme):
    for activation in ("tanh", "relu"):
        for layer in signal[activation, scheme]["reports"][0].layers[:5]:
            mean, std = layer.expected["std"]
            assert abs(layer.std - mean) < 7 * std


def test_a_run_has_a_report_for_every_epoch(signal):
    assert len(signal["relu", "he_normal"]["reports"]) == 3
    assert len(signal["relu", "normal(1)"]["reports"]) == 2  # it diverged in the first


# The textbook network.


def by_hand(w1, b1, w2, b2, lr):
    """A step of a 2-2-1 network, unit by unit, in plain Python."""
    points = [((0.0, 2.0), 1.0), ((1.0, 0.0), 0.0), ((2.0, -2.0), 1.0)]
    dw1, db1, dw2, db2, cost = [[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0], [0.0, 0.0], 0.0, 0.0
    for x, t in points:
        z = [x[0] * w1[0][j] + x[1] * w1[1][j] + b1[j] for j in (0, 1)]
        h = [max(value, 0.0) for value in z]
        p = 1 / (1 + np.exp(-(h[0] * w2[0] + h[1] * w2[1] + b2)))
        cost -= (np.log(p) if t else np.log(1 - p)) / 3
        # d cost / dp = (p - t) / (p (1 - p)) / 3, dp / dz2 = p (1 - p)
        dz2 = (p - t) / (p * (1 - p)) / 3 * p * (1 - p)
        db2 += dz2
        for j in (0, 1):
            dw2[j] += h[j] * dz2
            dz1 = w2[j] * dz2 if z[j] > 0 else 0.0
            db1[j] += dz1
            for i in (0, 1):
                dw1[i][j] += x[i] * dz1
    new = [
        [[w1[i][j] - lr * dw1[i][j] for j in (0, 1)] for i in (0, 1)],
        [b1[j] - lr * db1[j] for j in (0, 1)],
        [w2[j] - lr * dw2[j] for j in (0, 1)],
        b2 - lr * db2,
    ]
    return cost, new


@pytest.fixture(scope="module")
def steps():
    return run("example", steps=60).numbers


@pytest.mark.parametrize("name", ["zeros", "constant", "random"])
def test_every_step_of_the_example_is_that_of_a_hand_calculation(steps, name):
    taken = steps[name]["steps"]
    weights = [
        taken[0]["w1"].tolist(),
        taken[0]["b1"].tolist(),
        taken[0]["w2"][:, 0].tolist(),
        taken[0]["b2"][0],
    ]
    for here, after in itertools.pairwise(taken):
        cost, weights = by_hand(*weights, lr=0.5)
        assert here["cost"] == pytest.approx(cost, rel=1e-12)
        for key, value in zip(("w1", "b1", "w2", "b2"), weights, strict=True):
            np.testing.assert_allclose(after[key].ravel(), np.ravel(value), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["zeros", "constant", "random"])
def test_what_the_example_shows_of_a_step_is_what_the_step_takes(steps, name):
    for here in steps[name]["steps"]:
        ours = {
            "layers.0.weight": here["dw1"],
            "layers.0.bias": here["db1"],
            "layers.1.weight": here["dw2"],
            "layers.1.bias": here["db2"],
        }
        for parameter, gradient in here["gradients"].items():
            np.testing.assert_allclose(ours[parameter], gradient, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(here["dz1"].sum(axis=0), here["db1"], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(example.X.T @ here["dz1"], here["dw1"], rtol=1e-12, atol=1e-15)


def test_the_zero_trap_moves_nothing_but_the_bias_of_the_output(steps):
    for here in steps["zeros"]["steps"]:
        for key in ("w1", "b1", "w2"):
            assert (here[key] == 0).all()
    bias = [here["b2"][0] for here in steps["zeros"]["steps"]]
    assert (np.diff(bias) > 0).all()
    assert bias[-1] == pytest.approx(np.log(2), rel=0.01)  # of probability 2/3
    assert not steps["zeros"]["hidden_moved"]
    assert steps["zeros"]["steps"][-1]["cost"] > np.log(3) - 2 / 3 * np.log(2) - 1e-12


def test_equal_units_stay_equal_to_the_last_bit_and_cannot_learn_it(steps):
    for here in steps["constant"]["steps"]:
        for key in ("w1", "b1"):
            np.testing.assert_array_equal(here[key][..., 0], here[key][..., 1])
        assert here["w2"][0, 0] == here["w2"][1, 0]
        assert here["cost"] > example.ONE_UNIT
    assert steps["constant"]["hidden_moved"]
    assert not steps["constant"]["units_differ"]
    assert steps["random"]["units_differ"]
    assert steps["random"]["steps"][-1]["cost"] < 0.1 < example.ONE_UNIT


@pytest.mark.parametrize("sign", [1, -1])
def test_one_unit_cannot_do_better_than_the_bound(sign):
    """The odd one in the middle: a function that only rises, or falls, fits one end at best."""
    values = np.linspace(0, 1, 101)[1:-1]
    a, b, c = np.meshgrid(values, values, values, indexing="ij")
    cost = -(np.log(a) + np.log(1 - b) + np.log(c)) / 3
    monotone = (sign * a <= sign * b) & (sign * b <= sign * c)
    assert example.ONE_UNIT <= cost[monotone].min() < example.ONE_UNIT + 0.01


# Optimizers and depth.


@pytest.fixture(scope="module")
def optimizers():
    found = run("optimizers").numbers["runs"]
    return {(each["optimizer"], each["scheme"]): each for each in found}


def test_right_weights_suit_every_optimizer_and_small_ones_only_the_adaptive(optimizers):
    names = ("gradient descent", "momentum", "RMSProp", "Adam")
    assert {name for name, _ in optimizers} == set(names)
    for name in names:
        for scheme in ("xavier_normal", "he_normal"):
            right = optimizers[name, scheme]
            assert right["loss"] < 0.01
            assert right["epochs"] <= 12
            assert right["diverged"] == 0
            assert right["verdict"] == "healthy"
            assert optimizers[name, "normal(0.5)"]["loss"] > 10 * right["loss"]
        assert optimizers[name, "normal(0.01)"]["verdict"] == "vanishing"
        assert optimizers[name, "normal(0.5)"]["verdict"] == "exploding"
    for name in ("gradient descent", "momentum"):
        assert optimizers[name, "normal(0.01)"]["loss"] > 0.95 * np.log(10)
        assert optimizers[name, "normal(0.01)"]["epochs"] is None
    for name in ("RMSProp", "Adam"):
        assert optimizers[name, "normal(0.01)"]["loss"] < 0.5


def test_the_best_learning_rate_is_the_best(optimizers):
    best = optimizers["Adam", "he_normal"]
    data = ic.datasets.load("digits")
    for lr in experiments.optimizers.OPTIMIZERS["Adam"][1]:
        net = ic.MLP([64, *[64] * 5, 10], init="he_normal", seed=0)
        net.fit(
            data.x_train,
            data.y_train,
            loss="softmax_cross_entropy",
            optimizer=ic.Adam(lr),
            batch_size=32,
            epochs=20,
        )
        loss, _ = net.evaluate(data.x_train, data.y_train, loss="softmax_cross_entropy")
        assert loss >= best["loss"]
        assert (loss == best["loss"]) == (lr == best["lr"])


def test_networks_train_about_as_deep_as_six_depth_scales():
    """Where theory's limit lies among the depths tried: within a factor of 2 of it, for one seed."""
    found = run(
        "depth-limit", variances={"tanh": (1.0, 1.2, 4.0), "relu": (1.0, 1.4)}, depths=(4, 8, 16, 24, 32, 64)
    ).numbers
    for activation in ("tanh", "relu"):
        for w, deepest, six_xi in zip(
            found[activation]["sigma_w2"],
            found[activation]["deepest"],
            found[activation]["six_xi"],
            strict=True,
        ):
            assert six_xi == pytest.approx(6 * ic.theory.depth_scales(activation, w, 0.05)[1])
            assert 0.5 < deepest / six_xi < 2
    # Twice as deep as the limit and more, nothing is learnt: a tenth is guessing.
    assert found["tanh"]["accuracy"][0, -1] < 0.2
    assert found["relu"]["accuracy"][0, -2:].max() < 0.2


def test_biases_of_the_depth_limit_have_their_variance(monkeypatch):
    seen = []
    monkeypatch.setattr(depth_limit, "train", lambda net, *args, **kwargs: seen.append(net.parameters()))
    depth_limit.depth_limit(data="digits", variances={"tanh": (1.5,)}, depths=(40,), width=50)
    (parameters,) = seen
    biases = np.concatenate([value for name, value in parameters.items() if name.endswith("bias")])
    weights = np.concatenate(
        [value.ravel() * np.sqrt(len(value)) for name, value in parameters.items() if name.endswith("weight")]
    )
    for values, variance in ((biases, 0.05), (weights, 1.5)):
        assert 1e-12 < stats.chi2.cdf((values.astype(float) ** 2).sum() / variance, values.size) < 1 - 1e-12


# What is printed and written.


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_seed_decides_and_a_page_needs_nothing_else(tmp_path, name):
    result, again = (run(name, seed=3, **SMALL[name]) for _ in range(2))
    assert str(result) == str(again)
    if name != "depth":  # whose small table has few digits
        assert str(result) != str(run(name, seed=4, **SMALL[name]))
    looks = dict(mpl.rcParams)
    written = result.save(tmp_path / "there")
    assert dict(mpl.rcParams) == looks
    page, *pictures = written
    assert {path.name for path in written} == {
        f"{name}.html", *(f"{name}-{figure}.png" for figure in result.figures)
    }  # fmt: skip
    text = page.read_text()
    assert not re.search(r"https?:|<script|<link|url\(|@import", text)
    sources = re.findall(r'(?:src|srcset|href)="(.{15})', text)
    assert sources == ["data:image/png;"] * 2 * len(pictures)
    for table in result.tables:
        assert text.count(f"<h2>{table.title}</h2>") == 1
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for path in pictures:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_figures_are_drawn_when_asked_for():
    result = run("example", steps=1)
    figure = result.figures["example"]
    assert isinstance(figure, mpl.figure.Figure)
    assert result.figures["example"] is figure
    assert list(result.figures) == ["example"]
    assert len(result.figures) == 1
    with pytest.raises(KeyError):
        result.figures["other"]


def test_a_table_aligns_numbers_to_the_right():
    table = Table(
        "Title",
        ("name", "x", "word"),
        [("a", 1.0, "yes"), ("bb", 123456.0, None), ("", np.nan, "no")],
        "Note.",
    )
    expected = [
        "Title",
        "",
        "name         x  word",
        "a            1  yes",
        "bb    1.23e+05",
        "                no",
        "",
        "Note.",
    ]
    assert str(table).splitlines() == expected


def test_options_are_checked():
    with pytest.raises(ValueError, match="unknown experiment 'nothing': expected one of"):
        run("nothing")
    with pytest.raises(ValueError, match="layers must be"):
        run("depth", layers=1)
    with pytest.raises(ValueError, match="steps must be"):
        run("example", steps=0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        run("example", stepps=0)


# The command.


def test_the_command_lists_the_experiments(capsys):
    assert main(["experiment"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXPERIMENTS)
    assert all(entry.title in line for entry, line in zip(EXPERIMENTS.values(), lines, strict=True))


def test_the_command_prints_what_run_gives(capsys, tmp_path):
    assert main(["experiment", "example", "--seed", "2", "--out", str(tmp_path / "a" / "b")]) == 0
    output = capsys.readouterr().out
    assert output.startswith(str(run("example", seed=2)))
    for line in ("example.html", "example-example.png"):
        assert f"wrote {tmp_path / 'a' / 'b' / line}" in output
        assert (tmp_path / "a" / "b" / line).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "invalid choice: 'nothing'"),
        (["example", "--seed", "-1"], "expected an integer of at least 0"),
        (["example", "--seed", str(2**64)], "expected an integer of at least 0"),
        (["example", "more"], "unrecognized arguments: more"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(capsys, arguments, message):
    assert main(["experiment", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert errors.startswith("initcore: error: ")
    assert message in errors


def test_out_must_be_a_directory(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["experiment", "example", "--out", str(tmp_path / "file")]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert "file" in errors


def test_without_matplotlib_tables_are_printed_and_figures_refused_before_the_work(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["experiment", "example"]) == 0
    assert "Example" in capsys.readouterr().out
    assert main(["experiment", "example", "--out", str(tmp_path / "new")]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors == "initcore: error: figures need matplotlib: pip install 'initcore[plot]'\n"
    assert not (tmp_path / "new").exists()
    result = run("example", steps=1)
    with pytest.raises(ImportError, match="need matplotlib"):
        result.save(tmp_path)
    with pytest.raises(ImportError, match="need matplotlib"):
        result.figures["example"]


def test_without_the_data_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["experiment", "optimizers"]) == 2
    assert "pip install 'initcore[data]'" in capsys.readouterr().err


def test_ctrl_c_ends_an_experiment(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ic.MLP, "fit", interrupted)
    assert main(["experiment", "example"]) == 130
    assert capsys.readouterr().err == "initcore: interrupted\n"


def test_progress_is_shown_when_asked_for(capsys):
    run("example", steps=1, progress=True)
    assert "network" in capsys.readouterr().err
    run("example", steps=1)
    assert capsys.readouterr().err == ""


def test_experiments_do_not_need_a_display_or_pyplot():
    code = (
        "import sys, initcore as ic; r = ic.experiments.run('example', steps=1); r.figures['example'];"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_documentation_has_every_experiment(name):
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    assert re.search(rf"^## {name}: ", text, re.MULTILINE)
    for picture in re.findall(r"\]\((images/.*?)\)", text):
        assert (Path(__file__).parents[1] / "docs" / picture).is_file()


def test_experiments_are_loaded_when_they_are_asked_for():
    code = (
        "import sys, initcore as ic; assert 'initcore.experiments' not in sys.modules; "
        "ic.experiments.run; assert 'initcore.experiments' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
