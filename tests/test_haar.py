"""Orthogonal weights follow the Haar measure: every orthonormal matrix is as likely as any other.

Seeds are fixed, so a test here fails only when the values change. Freshly drawn correct values fail a check
with probability ALPHA: for a mean of DRAWS independent bounded numbers by the normal approximation, for a
distribution function by the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart. There are about 5000,
and so the whole file raises a false alarm with probability below 1e-6. An error of a mean is found with
probability above 0.9999 if it exceeds Z + 3.72 = 10.2 standard errors, that is 0.072 standard deviations of
the number; of a distribution function if it exceeds 2 DISTANCE = 0.049. The last tests show that the usual
mistakes are far beyond that.
"""

import math

import numpy as np
import pytest
from scipy import stats

import initcore as ic

DRAWS = 20_000
ALPHA = 1e-10
Z = float(stats.norm.isf(ALPHA / 2))
DISTANCE = math.sqrt(math.log(2 / ALPHA) / 2 / DRAWS)
SIZES = [(1, 1), (2, 2), (3, 3), (8, 8), (8, 3), (12, 1)]
BATCH = ic.Layout(batch_axis=0, in_axis=1, out_axis=2)


def draw(rows, columns, dtype="f4", seed=11):
    """Draw DRAWS matrices."""
    return ic.Orthogonal()((DRAWS, rows, columns), seed=seed, name="q", layout=BATCH, dtype=dtype).astype(
        float
    )


class Checks(list):
    """What was found wrong: (what, how far in units of what is allowed)."""

    def mean(self, what, values, expected):
        """Compare means over the first axis; `what` names the rest."""
        error = np.abs(values.mean(0) - expected)
        allowed = Z * values.std(0) / math.sqrt(len(values)) + 1e-6
        self.add(what, (error / allowed).max())

    def law(self, what, values, cdf):
        """Compare a distribution function."""
        allowed = DISTANCE * math.sqrt(DRAWS / len(values))
        self.add(what, stats.ks_1samp(values, cdf).statistic / allowed)

    def add(self, what, ratio):
        """Keep what is beyond 1."""
        if not ratio <= 1:
            self.append((what, float(ratio)))


def element_cdf(n):
    """Give the distribution function of an element of a random unit vector of n numbers."""
    return lambda x: (1 + np.sign(x) * stats.beta(0.5, (n - 1) / 2).cdf(np.square(x))) / 2


def moments(q):
    """Check the moments of elements up to the fourth; Collins & Sniady (Commun. Math. Phys. 264, 2006)."""
    _, n, m = q.shape
    found = Checks()
    found.mean("Q_ij", q, 0)
    found.mean("Q_ij^2", q**2, 1 / n)
    found.mean("Q_ij^3", q**3, 0)
    found.mean("Q_ij^4", q**4, 3 / (n * (n + 2)))
    if n == 1:
        return found
    for i, k in ((0, 1), (0, n - 1), (n - 2, n - 1)):
        for j, h in ((0, 1), (0, m - 1), (m - 2, m - 1)):
            if i == k or j == h or not 0 <= j < h < m:
                continue
            a, b, c, d = q[:, i, j], q[:, i, h], q[:, k, j], q[:, k, h]
            where = f"i, k, j, h = {i, k, j, h}"
            found.mean(f"Q_ij Q_kh, {where}", a * d, 0)
            found.mean(f"Q_ij Q_ih, {where}", a * b, 0)
            found.mean(f"Q_ij^2 Q_kh^2, {where}", (a * d) ** 2, (n + 1) / ((n - 1) * n * (n + 2)))
            found.mean(f"Q_ij^2 Q_ih^2, {where}", (a * b) ** 2, 1 / (n * (n + 2)))
            found.mean(f"Q_ij Q_ih Q_kj Q_kh, {where}", a * b * c * d, -1 / ((n - 1) * n * (n + 2)))
    return found


def elements(q):
    """Check the law of every element."""
    _, n, m = q.shape
    found = Checks()
    if n > 1:
        for i in range(n):
            for j in range(m):
                found.law(f"law of Q_ij, i, j = {i, j}", q[:, i, j], element_cdf(n))
    return found


def powers(q):
    """Check determinant and traces; Diaconis & Shahshahani (J. Appl. Probab. 31A, 1994)."""
    n = q.shape[1]
    found = Checks()
    found.mean("det", np.linalg.det(q), 0)
    trace = np.trace(q, axis1=1, axis2=2)
    found.mean("tr^2", trace**2, 1)
    if n >= 4:
        found.mean("tr^4", trace**4, 3)  # as of a normal number
    power = np.broadcast_to(np.eye(n), q.shape)
    for k in range(1, 9):  # sums of cos(k theta) over the eigenvalues
        power = power @ q
        found.mean(f"tr Q^{k}", np.trace(power, axis1=1, axis2=2), k % 2 == 0)
    return found


def angles(q, rotations):
    """Give the angles, in (0, pi), of the eigenvalues of those matrices that are rotations, or are not."""
    chosen = q[(np.linalg.det(q) > 0) == rotations]
    return np.sort(np.abs(np.angle(np.linalg.eigvals(chosen))), axis=1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_elements_are_those_of_the_haar_measure(size, dtype):
    q = draw(*size, dtype)
    assert not moments(q)
    assert not elements(q)
    if size[0] == size[1]:
        assert not powers(q)


def test_a_fixed_rotation_changes_nothing():
    left, right = stats.ortho_group.rvs(8, size=2, random_state=1)
    q = left @ draw(8, 8) @ right
    assert not [*moments(q), *elements(q), *powers(q)]


def test_transposes_are_alike():
    q = draw(8, 8).transpose(0, 2, 1)
    assert not [*moments(q), *elements(q), *powers(q)]
    rows = draw(3, 8).transpose(0, 2, 1)
    assert not [*moments(rows), *elements(rows)]


def test_rotations_of_two_and_three_dimensions_have_the_angles_known():
    found = Checks()
    q = draw(2, 2)
    turn = np.arctan2(q[:, 1, 0], q[:, 0, 0])  # of rotations and of reflections
    for rotations in (True, False):
        chosen = turn[(np.linalg.det(q) > 0) == rotations]
        found.law("angle in the plane", chosen, stats.uniform(-np.pi, 2 * np.pi).cdf)
    angle = angles(draw(3, 3), rotations=True)[:, -1]
    found.law("angle in space", angle, lambda x: (x - np.sin(x)) / np.pi)
    assert not found


@pytest.mark.parametrize("n", [8, 9, 20])
def test_eigenvalues_are_those_of_scipys_draws(n):
    draws = DRAWS if n < 20 else DRAWS // 4  # finds half as much
    ours, theirs = draw(n, n)[:draws], stats.ortho_group.rvs(n, size=draws, random_state=2)
    for rotations in (True, False):
        a, b = angles(ours, rotations), angles(theirs, rotations)
        allowed = math.sqrt(math.log(2 / ALPHA) / 2 * (len(a) + len(b)) / (len(a) * len(b)))
        for k in range(n):
            # fixed eigenvalues, 1 and -1, are off by rounding
            distance = stats.ks_2samp(a[:, k].round(4), b[:, k].round(4), method="asymp").statistic
            assert distance <= allowed, (rotations, k)


def without_signs(n):
    """Draw as some libraries once did: a QR factorisation as it comes."""
    return np.linalg.qr(ic.normal((DRAWS, n, n), seed=4, dtype="f8"))[0]


@pytest.mark.parametrize("n", [2, 3, 8])
def test_signs_that_are_left_out_are_found(n):
    q = without_signs(n)
    assert max(moments(q), key=lambda error: error[1])[1] > 5
    assert powers(q)
    assert elements(q)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_rotations_alone_are_found(n):
    q = draw(n, n)
    q[:, :, -1] *= np.linalg.det(q).round()[:, None]
    assert "det" in dict(powers(q))
    assert len(powers(q)) > 1


def test_a_single_wrong_sign_is_found():
    """The last column of a square matrix takes its sign from a vector of one element."""
    q = draw(8, 8)
    x = ic.normal((DRAWS, 8, 8), seed=11, name="q")[:, -1, -1]
    q[:, :, -1] *= np.sign(x)[:, None]
    assert "Q_ij" in dict(moments(q))
    assert "tr Q^1" in dict(powers(q))
