"""`ic.plot`: what is drawn is what was given, in every style; and how it refuses what it cannot draw."""

import sys
import warnings
from itertools import combinations
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from PIL import Image

import initcore as ic
from initcore import Recorder, diagnose, plot
from initcore.plot import layers as ridges
from initcore.plot.styles import STYLES, color_of, depth_colors, diverging

STYLE_NAMES = ("light", "dark", "paper")
INITS = ("zeros", "normal(0.01)", "normal(1)", "he_normal")


@pytest.fixture(autouse=True)
def _clean():
    """No test leaves a figure or a setting behind."""
    with mpl.rc_context():
        mpl.use("agg")
        yield
        plt.close("all")


def network(init="he_normal", sizes=(8, 20, 20, 20, 20, 5), **options):
    return ic.MLP(sizes, **{"init": init, "seed": 0, "activation": "relu", **options})


def samples(inputs=8, rows=50):
    return np.random.default_rng(1).normal(size=(rows, inputs))


@pytest.fixture(scope="module")
def reports():
    return {init: diagnose(network(init), samples()) for init in INITS}


@pytest.fixture(scope="module")
def small():
    return ic.MLP([2, 3, 1], activation="tanh", init="xavier_normal", seed=0)


@pytest.fixture(scope="module")
def series():
    """Reports of a training with three classes in the plane: the network, its data, the reports."""
    x = samples(2, 60)
    t = np.digitize(x[:, 0], [-0.4, 0.4])
    net = ic.MLP([2, 6, 6, 3], activation="tanh", init="xavier_normal", seed=0)
    recorder = Recorder(net, x, t)
    net.fit(
        x,
        t,
        loss="softmax_cross_entropy",
        optimizer=ic.Adam(0.02),
        batch_size=20,
        epochs=4,
        callbacks=[recorder],
    )
    return SimpleNamespace(net=net, x=x, t=t, reports=recorder.reports)


def layer(name, y, expected=()):
    """A layer of a report, made by hand."""
    y = np.asarray(y, float)
    return SimpleNamespace(
        name=name,
        width=y.shape[1],
        activation=None,
        mean=y.mean(),
        std=y.std(),
        dead=float((np.ptp(y, axis=0) == 0).mean()),
        gradient_std=None,
        sample=y,
        gradient_sample=None,
        expected=dict(expected),
    )


def axes(width=6.0, height=4.0):
    """Axes that pyplot does not know."""
    return Figure(figsize=(width, height), layout="constrained").subplots()


def drawn(ax):
    """Draw the whole figure, and give its axes back."""
    ax.figure.canvas.draw()
    return ax


def texts(ax):
    return [text.get_text() for text in ax.texts]


def heights(patch):
    """Of a histogram: the height of its bins above the base line."""
    data = patch.get_data()
    return data.values - data.baseline


# Everything there is, each from what it takes: for what all have in common.
def everything(reports, small, series):
    he = reports["he_normal"]
    return {
        "activations": lambda ax: plot.activations(he, ax),
        "gradients": lambda ax: plot.gradients(he, ax),
        "std_with_depth": lambda ax: plot.std_with_depth(reports, ax),
        "gradient_std": lambda ax: plot.std_with_depth(reports, ax, quantity="gradient_std"),
        "dead_units": lambda ax: plot.dead_units(reports, ax),
        "decision_boundary": lambda ax: plot.decision_boundary(series.net, series.x, series.t, ax),
        "matrix": lambda ax: plot.matrix(samples(), ax, title="a"),
        "network": lambda ax: plot.network(small, ax),
        "trajectory": lambda ax: plot.trajectory(series.reports, ax),
        "cost_curves": lambda ax: plot.cost_curves({"a": {"loss": [2.0, 1.0, 0.5]}}, ax),
        "variance_with_depth": lambda ax: plot.variance_with_depth(ic.theory.predict([8, 20, 5]), ax=ax),
        "phase_diagram": lambda ax: plot.phase_diagram("tanh", ax, resolution=11),
    }


NAMES = tuple(everything({"he_normal": None}, None, None))


@pytest.mark.parametrize("name", NAMES)
def test_axes_that_are_given_are_used_and_pyplot_makes_none(name, reports, small, series):
    ax = axes()
    before = dict(mpl.rcParams)
    assert everything(reports, small, series)[name](ax) is ax
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    drawn(ax)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("style", STYLE_NAMES)
def test_every_text_can_be_read_and_lies_inside_the_figure(name, style, reports, small, series):
    with plot.style(style):
        ax = drawn(everything(reports, small, series)[name](None))
    figure = ax.figure
    ground = mpl.colors.to_rgb(STYLES[style]["axes.facecolor"])
    assert to_rgb(figure.get_facecolor()) == to_rgb(ax.get_facecolor()) == ground or name == "phase_diagram"
    words = [*ax.texts, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
    legend = ax.get_legend()
    words += legend.get_texts() if legend else []
    page = figure.bbox.padded(1)
    for text in words:
        if not (text.get_text() and text.get_visible() and ax.axison) and text not in ax.texts:
            continue
        if text not in ax.get_xticklabels() + ax.get_yticklabels():  # ticks beyond the limits are not drawn
            box = text.get_window_extent()
            assert page.contains(box.x0, box.y0), text
            assert page.contains(box.x1, box.y1), text
        if name not in {"network", "phase_diagram"}:  # whose texts stand on colours
            assert abs(np.mean(to_rgb(text.get_color())) - np.mean(ground)) > 0.5
    if name != "phase_diagram":  # whose contours have their labels as texts
        boxes = [text.get_window_extent() for text in ax.texts]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    if style == "paper":
        assert figure.get_size_inches()[0] == 3.3
    if legend and name != "variance_with_depth":
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())


# Ridges.


def test_ridges_are_the_histograms_of_the_samples(reports):
    report = reports["he_normal"]
    ax = plot.activations(report, axes())
    assert len(ax.patches) == len(report.layers)
    for i, (patch, one) in enumerate(zip(ax.patches, report.layers, strict=True)):
        assert patch.get_data().baseline == len(report.layers) - 1 - i  # the first layer on top
        values = one.sample[one.sample != 0]
        counts, _ = np.histogram(values, patch.get_data().edges)
        np.testing.assert_allclose(heights(patch) / ridges._HEIGHT, counts / counts.max())
        assert counts.sum() > 0.95 * values.size
    assert len({tuple(patch.get_data().edges) for patch in ax.patches}) == 1
    assert np.abs(ax.patches[0].get_data().edges).min() == 0  # nothing positive seems to reach below zero
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [one.name for one in report.layers][::-1]


def test_numbers_beside_the_ridges_and_lines_for_zeros(reports):
    report = reports["he_normal"]
    ax = plot.activations(report, axes())
    beside = {text.xy[1]: [] for text in ax.texts}
    for text in ax.texts:
        beside[text.xy[1]].append(text.get_text())
    assert beside.pop(5) == ["std", "dead"]
    assert list(beside.values()) == [[f"{one.std:.3g}", f"{100 * one.dead:.0f}%"] for one in report.layers]
    tops = {
        line.get_ydata()[0]: np.ptp(line.get_ydata()) for line in ax.lines if len(set(line.get_xdata())) == 1
    }
    assert set(tops) == {1, 2, 3, 4}  # of relu; the output has none
    for base, height in tops.items():
        zeros = np.mean(report.layers[int(4 - base)].sample == 0)
        np.testing.assert_allclose(height, ridges._HEIGHT * zeros)
    assert "exact zeros" in ax.get_xlabel()
    gradients = plot.gradients(report, axes())
    assert {f"{one.gradient_std:.3g}" for one in report.layers} <= set(texts(gradients))


def test_ridges_of_very_different_sizes_have_a_logarithmic_scale(reports):
    assert plot.activations(reports["he_normal"], axes()).get_xscale() == "linear"
    ax = drawn(plot.activations(reports["normal(0.01)"], axes()))
    assert ax.get_xscale() == "symlog"
    smallest = min(np.sqrt(np.mean(one.sample**2)) for one in reports["normal(0.01)"].layers)
    assert ax.xaxis.get_transform().linthresh < smallest
    centers = [np.average(np.arange(len(heights(patch))), weights=heights(patch)) for patch in ax.patches[:4]]
    assert (np.diff(centers) < -2).all()  # each layer is smaller than the one before
    ticks = ax.get_xticks()
    assert 0 in ticks
    places = ax.transData.transform(np.column_stack([ticks, np.zeros_like(ticks)]))[:, 0]
    assert np.diff(places).min() > 30  # no label on another


def test_ridges_of_many_layers_are_an_even_choice():
    y = np.arange(6.0).reshape(2, 3)
    report = SimpleNamespace(layers=tuple(layer(f"layers.{i}", y + i) for i in range(30)))
    ax = plot.activations(report, axes())
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names) == ridges.MAX_RIDGES
    assert (names[-1], names[0]) == ("layers.0", "layers.29")


def test_ridges_keep_limits_that_are_set(reports):
    ax = axes()
    ax.set_xlim(-2, 3)
    edges = plot.activations(reports["he_normal"], ax).patches[0].get_data().edges
    assert ax.get_xlim() == (-2, 3)
    width = edges[1] - edges[0]
    assert edges[0] <= -2 < edges[0] + width
    assert edges[-1] - width < 3 <= edges[-1]


def test_ridges_survive_what_is_not_finite_huge_or_nothing():
    values = [[[np.nan, np.nan]], [[1.0, np.inf]], [[1e300, -1e300]], [[0.0, 0.0]], [[5e-324, 1e-310]]]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the statistics
        report = SimpleNamespace(layers=tuple(layer(f"layers.{i}", v) for i, v in enumerate(values)))
    ax = drawn(plot.activations(report, axes()))
    assert "not finite" in texts(ax)
    assert "1 not finite" in texts(ax)


# Depth.


def test_std_with_depth_shows_measured_points_and_the_band(reports):
    he = reports["he_normal"]
    ax = plot.std_with_depth(he, axes())
    line, points = ax.lines[:2]
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(points.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(points.get_ydata(), [one.std for one in he.layers])
    mean, std = np.array([one.expected["std"] for one in he.layers]).T
    np.testing.assert_array_equal(line.get_ydata(), mean)
    (band,) = ax.collections
    assert (
        band.get_paths()[0].get_extents().y0 < mean.min() < mean.max() < band.get_paths()[0].get_extents().y1
    )
    spread = np.sqrt(np.log1p((std / mean) ** 2))  # of the log-normal law
    top = np.max(mean * np.exp(-(spread**2) / 2 + 2 * spread))
    np.testing.assert_allclose(band.get_paths()[0].get_extents().y1, top)


def test_gradients_are_relative_to_the_output_layer(reports):
    he = reports["he_normal"]
    ax = plot.std_with_depth(he, axes(), quantity="gradient_std")
    measured = ax.lines[1].get_ydata()
    np.testing.assert_allclose(measured, [one.gradient_std / he.layers[-1].gradient_std for one in he.layers])
    assert measured[-1] == 1


def test_several_reports_differ_in_color_marker_and_line(reports):
    ax = plot.std_with_depth(reports, axes())
    handles = ax.get_legend().legend_handles
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(reports)
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert (
            len({str(getattr(handle, look)()) for handle in handles}) == len(reports)
            or look == "get_linestyle"
        )
    assert len({str(handle._dash_pattern) for handle in handles}) == len(reports)


def test_zeros_are_hollow_points_and_what_is_not_finite_a_cross(reports):
    ax = drawn(plot.std_with_depth(reports["zeros"], axes()))
    (hollow,) = (line for line in ax.lines if line.get_transform() == ax.get_xaxis_transform())
    assert hollow.get_markerfacecolor() == mpl.rcParams["axes.facecolor"]
    np.testing.assert_array_equal(hollow.get_xdata(), [1, 2, 3, 4, 5])
    assert "hollow: 0" in ax.get_legend().get_title().get_text()
    broken = layer("layers.0", [[1.0, 2.0]])
    broken.std = np.inf
    ax = drawn(plot.std_with_depth(SimpleNamespace(layers=(broken, layer("layers.1", [[1.0, 2.0]]))), axes()))
    assert [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "X"] == [[1]]
    assert len(ax.lines[0].get_ydata()) == 0  # nothing is expected
    assert ax.get_legend() is None


def test_dead_units_are_shares(reports):
    ax = plot.dead_units(reports, axes())
    for i, report in enumerate(reports.values()):
        np.testing.assert_array_equal(ax.lines[2 * i + 1].get_ydata(), [one.dead for one in report.layers])
    low, high = ax.get_ylim()
    assert low < 0
    assert high > 1
    drawn(ax)
    assert ax.get_yticklabels()[0].get_text().endswith("%")
    report = SimpleNamespace(layers=(layer("layers.0", [[1.0, 2.0]], expected={"dead": (0.3, 0.2)}),) * 2)
    band = plot.dead_units(report, axes()).collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.y0, band.y1], [0.0, 0.7], atol=1e-12)


# Planes.


def test_decision_boundary_shows_regions_lines_and_points(series):
    ax = plot.decision_boundary(series.net, series.x, series.t, axes())
    (image,) = ax.images
    assert image.origin == "lower"
    pixels, (left, right, bottom, top) = image.get_array(), image.get_extent()
    rows, columns, _ = pixels.shape
    grid = np.stack(np.meshgrid(np.linspace(left, right, columns), np.linspace(bottom, top, rows)), axis=-1)
    wanted = series.net.predict(grid.reshape(-1, 2))
    tints = np.array([0.4 * np.array(to_rgb(plot.COLORS[i])) + 0.6 for i in range(3)])
    nearest = np.argmin(np.square(pixels.reshape(-1, 1, 3) - tints).sum(axis=-1), axis=1)
    y = np.sort(series.net.forward(grid.reshape(-1, 2)), axis=1)
    clear = y[:, -1] - y[:, -2] > 2
    assert clear.mean() > 0.2
    np.testing.assert_array_equal(nearest[clear], wanted[clear])
    found = [np.column_stack(line.get_data()) for line in ax.lines]
    for i, points in enumerate(found):
        np.testing.assert_array_equal(points, series.x[series.t == i])
    assert len({line.get_marker() for line in ax.lines}) == 3
    edge = np.concatenate([path.vertices for lines in ax.collections for path in lines.get_paths()])
    y = np.sort(series.net.forward(edge), axis=1)
    assert np.abs(y[:, -1] - y[:, -2]).max() < 0.2  # on the boundary two classes are alike


def test_decision_boundary_of_one_output_and_of_a_sigmoid():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    pictures = []
    for output in ("linear", "sigmoid"):
        net = ic.MLP([2, 4, 1], activation="tanh", output_activation=output, seed=1)
        ax = plot.decision_boundary(net, x, [[0], [1], [1], [0]], axes())
        assert len(ax.lines) == 2
        pictures.append(ax.images[0].get_array())
        edge = ax.collections[0].get_paths()[0].vertices
        np.testing.assert_allclose(net.forward(edge), 0.5 if output == "sigmoid" else 0.0, atol=2e-3)
    np.testing.assert_allclose(*pictures, atol=1e-5)  # a logit, and its probability


def test_decision_boundary_of_a_network_that_knows_nothing_and_of_many_points():
    net = ic.MLP([2, 3, 7], init="zeros")
    x = samples(2, 5000)
    ax = drawn(plot.decision_boundary(net, x, np.arange(5000) % 7, axes()))
    assert len(ax.collections) == 0
    assert sum(len(line.get_xdata()) for line in ax.lines) == 400
    one_hot = np.eye(7)[np.arange(5000) % 7]
    again = plot.decision_boundary(net, x, one_hot, axes())
    assert all(np.array_equal(a.get_data(), b.get_data()) for a, b in zip(ax.lines, again.lines, strict=True))
    drawn(plot.decision_boundary(net, [[1.0, 2.0]], [0], axes()))  # no extent


def test_decision_boundary_refuses(series):
    def refused(error, match, net=series.net, x=series.x, t=series.t):
        with pytest.raises(error, match=match):
            plot.decision_boundary(net, x, t, axes())

    refused(TypeError, "net must be MLP, got str", net="net")
    refused(ValueError, "2 inputs, the axes of the plane, got one of 3", net=ic.MLP([3, 2]))
    refused(ValueError, "at most 7 outputs, got one of 8", net=ic.MLP([2, 8]))
    refused(ValueError, r"x must hold finite numbers of shape \(samples, 2\), got \(4,\)", x=np.ones(4))
    refused(ValueError, "finite", x=np.full((2, 2), np.nan))
    refused(ValueError, r"t must have shape \(60,\) or \(60, 3\), got \(59,\)", t=series.t[:-1])
    refused(ValueError, "labels from 0 to 2, got", t=series.t + 1)
    refused(ValueError, "labels from 0 to 2", t=series.t + 0.5)
    assert plt.get_fignums() == []


# Matrices and networks.


def test_a_matrix_is_shown_as_it_is_around_zero():
    values = samples(30, 40)
    values[0, 0] = 1e6
    ax = drawn(plot.matrix(values, axes(), title="weights"))
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), values)
    low, high = image.get_clim()
    assert low == -high
    np.testing.assert_allclose(high, np.quantile(np.abs(values), 0.995, method="higher"))
    assert ax.get_title(loc="left") == "weights"
    assert image.colorbar.extend == "both"
    np.testing.assert_allclose(image.cmap(0.5)[:3], 0.94 + 0.06 * np.array(to_rgb("black")), atol=0.01)
    assert plot.matrix(values, axes(), limit=2.0).images[0].get_clim() == (-2, 2)


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.zeros((3, 2)), 1.0),
        (np.full((3, 2), -0.3), 0.3),
        (np.eye(1000)[:1], 1.0),  # 99.5 % are zero
        (np.full((2, 2), np.nan), 1.0),
        ([1, 2, 3], 3.0),
        (np.array([[1e-30, np.inf]]), 1e-30),
    ],
)
def test_the_colors_of_matrices_that_are_odd(values, limit):
    ax = drawn(plot.matrix(values, axes()))
    assert ax.images[0].get_clim() == (-limit, limit)


def test_nan_is_hatched_and_counted():
    values = samples(4, 4)
    assert not plot.matrix(values, axes()).patch.get_hatch()
    values[1, 2] = np.nan
    ax = plot.matrix(values, axes())
    assert ax.patch.get_hatch()
    assert "1 NaN" in ax.get_xlabel()
    assert ax.images[0].cmap(np.ma.masked)[3] == 0  # the hatching shows through


def test_matrix_refuses():
    for values in (np.ones((2, 2, 2)), np.ones((0, 3)), 1.0):
        with pytest.raises(ValueError, match=r"expected values of shape \(rows, columns\)"):
            plot.matrix(values, axes())
    with pytest.raises(TypeError, match="real numbers, got dtype"):
        plot.matrix([["a"]], axes())
    with pytest.raises(ValueError, match="limit must be positive"):
        plot.matrix([[1.0]], axes(), limit=-1)


def test_a_network_has_a_node_per_unit_and_an_edge_per_weight(small):
    ax = drawn(plot.network(small, axes()))
    edges, nodes = ax.collections[:2], ax.collections[2:]
    assert [len(one.get_segments()) for one in edges] == [6, 3]
    assert [len(one.get_offsets()) for one in nodes] == [2, 3, 1]
    assert {"$x_{1}$", "$x_{2}$", "$h_{3}$", "$y$", "2\ninputs", "3\ntanh", "1\nlinear"} <= set(texts(ax))
    weight = small.parameters()["layers.0.weight"]
    order = np.argsort(np.abs(weight), axis=None)
    widths = np.array(edges[0].get_linewidths())
    assert (np.diff(widths) >= 0).all()  # larger ones lie above
    for rgba, value in zip(edges[0].get_colors(), weight.ravel()[order], strict=True):
        assert (rgba[0] > rgba[2]) == (value > 0)  # orange, blue
    dashes = [dash is not None for _, dash in edges[0].get_linestyles()]
    assert dashes == list(weight.ravel()[order] < 0)
    left, top = edges[0].get_segments()[-1][0]
    a = order[-1] // 3
    np.testing.assert_allclose((left, top), nodes[0].get_offsets()[a])


def test_a_small_network_has_its_numbers_written():
    net = ic.MLP([2, 2, 1], activation="tanh", seed=0)
    net.set_parameters({"layers.0.bias": [0.5, -2.0]})
    ax = plot.network(net, axes())
    wanted = [f"{value:.2g}" for i in range(2) for value in net.parameters()[f"layers.{i}.weight"].ravel()]
    assert set(wanted) | {"+0.5", "-2"} <= set(texts(ax))
    scaled = {name: 1e-5 * value for name, value in net.parameters().items()}
    ax = plot.network(net, axes(), values=scaled)
    assert ax.figure.axes[1].get_ylabel() == "value / $10^{-5}$"
    assert set(wanted) <= set(texts(ax))


def test_a_wide_layer_shows_some_units():
    ax = drawn(plot.network(ic.MLP([784, 30, 10], seed=0), axes()))
    assert [len(one.get_offsets()) for one in ax.collections[2:]] == [10, 10, 10]
    assert texts(ax).count("\u22ee") == 2
    assert {"$x_{1}$", "$x_{784}$", "784\ninputs", "30\nrelu"} <= set(texts(ax))


def test_network_refuses(small):
    values = small.parameters()
    with pytest.raises(TypeError, match="net must be MLP, got list"):
        plot.network([2, 2, 1], axes())
    with pytest.raises(TypeError, match="values must be a mapping"):
        plot.network(small, axes(), values=[1, 2])
    with pytest.raises(ValueError, match=r"missing are layers\.1\.weight"):
        plot.network(small, axes(), values={"layers.0.weight": values["layers.0.weight"]})
    with pytest.raises(ValueError, match=r"unknown are layers\.9"):
        plot.network(small, axes(), values={**values, "layers.9": 1})
    with pytest.raises(ValueError, match=r"layers\.0\.weight must have shape \(2, 3\), got \(3, 2\)"):
        plot.network(small, axes(), values={**values, "layers.0.weight": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"layers\.0\.bias must hold finite numbers"):
        plot.network(small, axes(), values={**values, "layers.0.bias": np.full(3, np.nan)})


# Trajectories.


def test_trajectories_have_a_line_per_layer(series):
    ax = plot.trajectory(series.reports, axes())
    lines = [line for line in ax.lines if len(line.get_xdata())]
    assert len(lines) == 3
    for i, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_ydata(), [report.layers[i].std for report in series.reports])
        np.testing.assert_array_equal(line.get_xdata(), range(5))
    assert ax.get_yscale() == "log"
    assert len({line.get_marker() for line in lines}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["layers.0", "layers.1", "layers.2"]
    assert plot.trajectory(series.reports, axes(), statistic="dead").get_yscale() == "linear"


def test_trajectories_of_two_trainings_and_of_many_layers(series):
    deep = SimpleNamespace(layers=tuple(layer(f"layers.{i}", [[1.0 + i, 0.0]]) for i in range(9)))
    ax = drawn(plot.trajectory({"a": [deep, deep], "b": series.reports}, axes()))
    assert len(ax.lines) == 12
    assert len({str(line._dash_pattern) for line in ax.lines}) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.figure.axes[1].get_ylabel() == "layer"
    assert not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())


def test_trajectories_leave_out_what_cannot_be_drawn(series):
    one, two = layer("layers.0", [[1.0, 2.0]]), layer("layers.0", [[1.0, 1.0]])
    ax = drawn(plot.trajectory([SimpleNamespace(layers=(one,)), SimpleNamespace(layers=(two,))], axes()))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.5, np.nan])
    with pytest.raises(ValueError, match="the reports have no finite update_ratio"):
        plot.trajectory(series.reports, axes(), statistic="update_ratio")


# Animation.


def recorded():
    """Give what the axes of the frames of the current figure are like when drawn: by the frame's title."""
    figure = plt.gcf()
    seen = {}

    def note(_):
        ax = figure.axes[0]
        seen[ax.get_title(loc="right")] = {
            "limits": (ax.get_xlim(), ax.get_ylim()),
            "scale": ax.get_xscale(),
            "ground": ax.get_facecolor(),
            "place": tuple(ax.get_position().bounds),
            "colors": [image.get_clim() for image in ax.images],
            "bins": tuple(ax.patches[0].get_data().edges) if ax.patches else None,
        }

    figure.canvas.mpl_connect("draw_event", note)
    return seen


def test_frames_keep_their_axes_and_are_saved(series, tmp_path):
    drawn_reports = []

    def draw(report, ax):
        drawn_reports.append(report)
        plot.activations(report, ax)

    with plot.style("dark"):
        mpl.rcParams["figure.figsize"] = (2.5, 2.0)
        film = plot.animate(series.reports[:3], draw, interval=100)
    seen = recorded()
    film.save(tmp_path / "film.gif", writer="pillow", dpi=50)
    assert drawn_reports[-3:] == series.reports[:3]
    assert list(seen) == list("012")
    for what in ("limits", "place", "bins", "scale", "ground"):
        assert len({one[what] for one in seen.values()}) == 1, what
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 3
        assert gif.info["duration"] == 100
        ground = to_rgb(STYLES["dark"]["axes.facecolor"])  # the style of when it was made
        assert seen["0"]["ground"][:3] == ground
        assert gif.convert("RGB").getpixel((1, 1)) == tuple(round(255 * c) for c in ground)
    assert len(plt.get_fignums()) == 1


def test_frames_share_a_logarithmic_scale(reports, tmp_path):
    mpl.rcParams["figure.figsize"] = (2.5, 2.0)
    few = [SimpleNamespace(layers=reports[init].layers[::4]) for init in ("he_normal", "normal(0.01)")]
    assert plot.activations(few[0], axes()).get_xscale() == "linear"
    film = plot.animate(few, plot.activations)
    seen = recorded()
    film.save(tmp_path / "a.gif", "pillow", dpi=40)
    assert [one["scale"] for one in seen.values()] == ["symlog"] * 2
    assert len({one["limits"] for one in seen.values()}) == 1


def test_frames_share_limits(reports, tmp_path):
    mpl.rcParams["figure.figsize"] = (2.5, 2.0)
    few = [SimpleNamespace(layers=reports[init].layers[:2]) for init in ("he_normal", "normal(1)")]
    assert plot.std_with_depth(few[0], axes()).get_ylim() != plot.std_with_depth(few[1], axes()).get_ylim()
    film = plot.animate(few, plot.std_with_depth)
    seen = recorded()
    film.save(tmp_path / "a.gif", "pillow", dpi=40)
    low, high = seen["0"]["limits"][1]
    assert seen["1"]["limits"][1] == (low, high)
    stds = [layer.std for report in few for layer in report.layers]
    assert low < min(stds) < max(stds) < high


def test_frames_share_colors(tmp_path):
    mpl.rcParams["figure.figsize"] = (2.5, 2.0)
    film = plot.animate([np.eye(3), 4 * np.eye(3)], plot.matrix)
    seen = recorded()
    film.save(tmp_path / "b.gif", "pillow", dpi=40)
    assert [one["colors"] for one in seen.values()] == [[(-4, 4)]] * 2
    assert [one["limits"][1] for one in seen.values()] == [(2.5, -0.5)] * 2


def test_animate_refuses(series):
    with pytest.raises(TypeError, match="expected a sequence of reports, got int"):
        plot.animate(3, plot.activations)
    with pytest.raises(TypeError, match="draw must be callable"):
        plot.animate(series.reports, "activations")
    with pytest.raises(ValueError, match="at least one report"):
        plot.animate([], plot.activations)
    with pytest.raises(ValueError, match="interval must be positive"):
        plot.animate(series.reports, plot.activations, interval=0)
    assert plt.get_fignums() == []


# Styles and colours.


@pytest.mark.parametrize("name", STYLE_NAMES)
def test_a_style_ends_with_its_block(name):
    before = dict(mpl.rcParams)
    with plot.style(name):
        assert dict(mpl.rcParams) != before
    assert dict(mpl.rcParams) == before


# Machado, Oliveira & Fernandes 2009: how linear RGB looks without one kind of cones.
MACHADO = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colors):
    rgb = np.array([to_rgb(color) for color in colors])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB (D65) of linear RGB."""
    xyz = rgb @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def seen_by(colors, vision):
    return lab(np.clip(linear(colors) @ np.array(MACHADO[vision]).T, 0, 1))


@pytest.mark.parametrize("vision", MACHADO)
def test_colors_can_be_told_apart_by_everyone(vision):
    """Distances in CIELAB, where 2.3 is what can just be noticed; the smallest is 16.1, for tritanopes."""
    for style in ("light", "dark"):
        with plot.style(style):
            palette = seen_by([color_of(i) for i in range(7)], vision)
            distances = [np.linalg.norm(a - b) for a, b in combinations(palette, 2)]
            assert min(distances) > 16
            ground = seen_by([STYLES[style]["axes.facecolor"]], vision)
            assert np.linalg.norm(palette - ground, axis=1).min() > 35
            blue, orange = seen_by([diverging()(0.2), diverging()(0.8)], vision)
            assert np.linalg.norm(blue - orange) > 80


@pytest.mark.parametrize("style", STYLE_NAMES)
def test_colors_of_depth_are_in_order_and_stand_out(style):
    with plot.style(style):
        colors = [to_rgba(color) for color in depth_colors(10)]
        lightness = lab(linear(colors))[:, 0]
        ground = lab(linear([STYLES[style]["axes.facecolor"]]))[0, 0]
    assert (np.diff(lightness) > 1).all()
    assert np.abs(lightness - ground).min() > 15


# Refusals that several share.


def test_reports_that_are_none(reports):
    for draw in (plot.activations, plot.gradients, plot.std_with_depth, plot.dead_units):
        with pytest.raises(TypeError, match="expected a Diagnosis, as diagnose gives, got MLP"):
            draw(network())
        with pytest.raises(ValueError, match="at least one layer"):
            draw(SimpleNamespace(layers=()))
    for draw in (plot.std_with_depth, plot.dead_units, plot.trajectory):
        with pytest.raises(ValueError, match="at least one"):
            draw({})
    with pytest.raises(TypeError, match=r"a sequence of diagnoses, as Recorder\.reports, got Diagnosis"):
        plot.trajectory(reports["zeros"])
    with pytest.raises(TypeError, match="expected a Diagnosis"):
        plot.trajectory([1])
    with pytest.raises(ValueError, match="an empty sequence"):
        plot.trajectory([])
    with pytest.raises(ValueError, match="some of 1 and of 5 layers"):
        plot.trajectory([SimpleNamespace(layers=(1,)), reports["zeros"]])
    assert plt.get_fignums() == []


def test_names_that_are_unknown(reports):
    with pytest.raises(ValueError, match="unknown quantity 'mean': expected one of std, gradient_std"):
        plot.std_with_depth(reports, quantity="mean")
    with pytest.raises(ValueError, match="unknown statistic 'loss': expected one of std, mean"):
        plot.trajectory([reports["zeros"]], statistic="loss")
    with pytest.raises(ValueError, match="unknown style 'sepia': expected one of light, dark, paper"):
        plot.style("sepia")
    assert plt.get_fignums() == []


def test_reports_without_gradients():
    report = SimpleNamespace(layers=(layer("layers.0", [[1.0, 2.0]]),) * 2)
    with pytest.raises(ValueError, match="no gradient_sample in any layer"):
        plot.gradients(report)
    with pytest.raises(ValueError, match="no gradients"):
        plot.std_with_depth(report, quantity="gradient_std")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", NAMES)
def test_without_matplotlib_the_extra_is_named(name, monkeypatch, reports, small, series):
    draw = everything(reports, small, series)[name]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'initcore\[plot\]'"):
        draw(None)
