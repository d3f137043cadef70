"""Stream v1 in pure Python: the definition, written for reading. Slow, exact, independent of the Rust code.

`sample(...)` gives one value as an exact number. Arithmetic is done in fractions and rounded after every
operation the way IEEE 754 does, so nothing here depends on a floating-point unit.
"""

import hashlib
import json
import re
import struct
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from pathlib import Path

import mpmath

MASK = 0xFFFFFFFF


def philox4x32_10(counter, key):
    """Philox4x32-10 (Salmon et al., SC11): four counter words and two key words -> four words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def name_id(name):
    """64-bit id of a parameter's name; 0 without one."""
    if name is None:
        return 0
    data = name.encode()
    tagged = b"initcore stream v1 name" + len(data).to_bytes(8, "little") + data
    return int.from_bytes(hashlib.sha256(tagged).digest()[:8], "little")


def branch_id(name, purpose):
    """64-bit id of a second stream of the same parameter."""
    data = name_id(name).to_bytes(8, "little") + purpose.encode()
    tagged = b"initcore stream v1 branch" + len(data).to_bytes(8, "little") + data
    return int.from_bytes(hashlib.sha256(tagged).digest()[:8], "little")


def word(seed, name, index):
    """32-bit word `index` of a parameter's stream."""
    return word_of(seed, name_id(name), index)


def word_of(seed, id_, index):
    """Word `w` of block `16 s + l`, where index = 64 s + 16 w + l."""
    s, (w, lane) = index // 64, divmod(index % 64, 16)
    block = 16 * s + lane
    counter = (block & MASK, block >> 32, id_ & MASK, id_ >> 32)
    return philox4x32_10(counter, (seed & MASK, seed >> 32))[w]


class Format:
    """A binary floating-point format; values are Fractions, `rounded` after every operation."""

    def __init__(self, bits, precision, smallest):
        self.bits, self.precision, self.smallest = bits, precision, smallest

    def rounded(self, x):
        """Round an exact number to the nearest of the format, ties to even."""
        x = Fraction(x)
        if x == 0:
            return x
        exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
        exponent -= abs(x) < Fraction(2) ** exponent
        ulp = Fraction(2) ** max(exponent - self.precision + 1, self.smallest)
        return round(x / ulp) * ulp  # Python rounds fractions half to even

    def step(self, x, direction):
        """Give the neighbour of x below (-1) or above (1)."""
        tiny = Fraction(2) ** (self.smallest - 1)
        y, gap = x, max(tiny, abs(x) / 2 ** (self.precision + 1))
        while y == x:
            y, gap = self.rounded(x + direction * gap), gap * 2
        return y

    def inside(self, low, high):
        """Give the outermost numbers of the format between two bounds, which may be infinite."""
        first, last = (b if abs(b) == float("inf") else self.rounded(b) for b in (low, high))
        return (
            self.step(first, 1) if first < low else first,
            self.step(last, -1) if last > high else last,
        )

    def fma(self, a, b, c):
        return self.rounded(a * b + c)

    def sqrt(self, x):
        """Round the square root of an exact number correctly, by integers."""
        scale = 4**200
        root = Fraction(isqrt(int(x * scale)), 2**200)
        return self.rounded(root)  # 200 bits decide: a square root is never so near a tie

    def horner(self, coefficients, x):
        result = coefficients[-1]
        for c in reversed(coefficients[:-1]):
            result = self.fma(result, x, c)
        return result

    def word(self, seed, name, index):
        """Word of the format's width for a value: float64 joins words w = 2h (high half) and 2h + 1."""
        if self.bits == 32:
            return word(seed, name, index)
        s, (h, lane) = index // 32, divmod(index % 32, 16)
        high, low = (word(seed, name, 64 * s + 16 * (2 * h + i) + lane) for i in (0, 1))
        return high << 32 | low

    def unit(self, bits):
        """Word -> multiple of 2^-24 (2^-53) in [0, 1)."""
        keep = self.precision
        return Fraction(bits >> (self.bits - keep), 2**keep)

    def centered(self, bits):
        """Word -> s in (-1, 1), symmetric, and 1 - |s|."""
        half = 2 ** (self.bits - 1)
        signed = bits - half
        magnitude = signed if signed >= 0 else -signed - 1

        def scaled(k):
            return self.fma(self.rounded(k), Fraction(1, half), Fraction(1, 2 * half))

        s = scaled(magnitude)
        return (s if signed >= 0 else -s), scaled(half - 1 - magnitude)


class Float32(Format):
    """Quantiles from a table: the exponent and first mantissa bit of q choose a row (start, c0, ..., c6)."""

    def quantile(self, v, q):
        """Standard normal quantile of probability (1 + v) / 2, given also q = 1 - |v|."""
        exponent = 0
        while q < Fraction(2) ** exponent:
            exponent -= 1
        mantissa = q / Fraction(2) ** exponent
        row = 2 * (exponent + 127) + (mantissa >= Fraction(3, 2))
        start, *coefficients = ROWS[row]
        t = self.fma(abs(v), 2, start) if q >= Fraction(1, 2) else start - mantissa
        z = self.horner(coefficients, t)
        return -z if v < 0 else z


class Float64(Format):
    """Quantiles from a logarithm and polynomials."""

    def __init__(self, bits, precision, smallest, constants):
        super().__init__(bits, precision, smallest)

        def exact(x):
            return [exact(y) for y in x] if isinstance(x, list) else Fraction(float.fromhex(x))

        for key, value in constants.items():
            setattr(self, key, exact(value))

    def neg_log(self, y, complement=None):
        """Approximate -log(y) in the format's own arithmetic; y = 2^exponent (1 + f).

        A `complement`, 1 - y, is taken for -f where the exponent is 0.
        """
        exponent = y.numerator.bit_length() - y.denominator.bit_length()
        while y / Fraction(2) ** exponent >= 2 * self.split:
            exponent += 1
        while y / Fraction(2) ** exponent < self.split:
            exponent -= 1
        f = y / Fraction(2) ** exponent - 1
        if complement is not None and exponent == 0:
            f = -complement
        s = self.rounded(f / self.rounded(2 + f))
        s2 = self.rounded(s * s)
        log = self.fma(self.rounded(s * s2), self.horner(self.log, s2), 2 * s)
        return self.fma(exponent, -self.ln2, -log)

    def quantile(self, v, q):
        """Standard normal quantile of probability (1 + v) / 2, given also q = 1 - |v|."""
        y = self.fma(-q, q, 2 * q)
        w = self.neg_log(y)
        if y >= self.tail:
            return self.rounded(v * self.horner(self.central, self.rounded(w - self.center)))
        s = self.sqrt(w)
        below = [piece for piece in self.tails if s < piece[0]]
        _, center, coefficients = below[0] if below else self.tails[-1]
        return self.rounded(v * self.horner(coefficients, self.rounded(s - center)))

    def share(self, bits, width):
        """Give (bits + 1/2) / 2^width in the format."""
        return self.fma(self.rounded(bits), Fraction(1, 2**width), Fraction(1, 2 ** (width + 1)))

    def distance(self, p, q, a, b):
        """Distance from a >= 0 below which lies p of the tail's part from a to b; q = 1 - p."""
        share, rest, mills, excess = (Fraction(x) for x in tail_interval(a, b))
        r = self.rounded
        t = self.neg_log(self.fma(q, share, rest), r(p * share))
        linear = r(t * mills)
        root = self.sqrt(self.fma(2 * excess, linear, 1))
        y = r(2 * linear / r(1 + root))
        if a < 10:
            return y
        inverse = r(1 / Fraction(a))
        u_a = r(inverse * inverse)
        difference = [self.mills[-1]]
        for c in reversed(self.mills[:-1]):
            difference.insert(0, self.fma(difference[0], u_a, c))
        for _ in range(2):  # Newton
            e = r(y * inverse)
            ratio = r(1 / r(1 + e))
            ratio = r(ratio * ratio)
            u = r(ratio * u_a)
            change = r(r(r(r(u_a * e) * r(2 + e)) * ratio) * self.horner(difference, u))
            leading = self.fma(self.fma(y, Fraction(1, 2), Fraction(a)), y, -t)
            residual = r(leading + r(-self.neg_log(Fraction(1), -e) - change))
            rate = r(r(Fraction(a) + y) * self.fma(u, self.fma(-2, u, 1), 1))
            y = r(y - r(residual / rate))
        return y


def sparse_zeros(seed, name, rows, columns, zeros):
    """Rows of the zeros in each column of a sparse matrix: those of the least keys."""
    id_ = branch_id(name, "sparse")

    def key(row, column):
        s, rest = divmod(row * columns + column, 32)
        h, lane = divmod(rest, 16)
        high, low = (word_of(seed, id_, 64 * s + 16 * (2 * h + i) + lane) for i in (0, 1))
        return (high << 32 | low) >> 11

    return [
        set(sorted(range(rows), key=lambda row: (key(row, column), row))[:zeros]) for column in range(columns)
    ]


TESTS = Path(__file__).parent
CONSTANTS = json.loads((TESTS / "vectors" / "quantile_v1.json").read_text())
ROWS = [
    [Fraction(struct.unpack(">f", bytes.fromhex(x))[0]) for x in re.findall("0x([0-9a-f]{8})", row)]
    for row in re.findall(r"\[\s*(0x[^]]*)\]", (TESTS.parent / "rust" / "quantile_table.rs").read_text())
]
FORMATS = {
    "float32": Float32(32, 24, -149),
    "float64": Float64(64, 53, -1074, CONSTANTS["float64"]),
    "float16": Format(16, 11, -24),
    "bfloat16": Format(16, 8, -133),
}


@lru_cache
def tail_probability(x):
    """P(Z > x) to 60 digits."""
    with mpmath.workdps(60):
        return mpmath.erfc(mpmath.mpf(x) / mpmath.sqrt(2)) / 2


@lru_cache
def tail_interval(a, b):
    """Give P(a < Z < b) / P(Z > a), P(Z > b) / P(Z > a), mills = P(Z > a) / density(a) and excess.

    The excess is that of the hazard rate, 1 / mills, over a.
    """
    with mpmath.workdps(60):
        a, b = mpmath.mpf(a), mpmath.mpf(b)
        width = b - a
        excess = mpmath.mpf(0)
        if a < 50:
            mills = mpmath.exp(a * a / 2) * mpmath.sqrt(2 * mpmath.pi) * tail_probability(a)
            excess = 1 / mills - a
        else:
            for n in range(200, 0, -1):
                excess = n / (a + excess)
            mills = 1 / (a + excess)
        if width * (a + 1) <= 1:
            # the integral of exp(-a y - y^2 / 2), term by term
            term, before, total = mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(1)
            for k in range(1, 80):
                term, before = -(width * a * term + width * width * before) / k, term
                total += term / (k + 1)
            share = width * total / mills
        elif width * (a + b) / 2 > 100:
            share = mpmath.mpf(1)
        else:
            share = 1 - tail_probability(b) / tail_probability(a)
        return float(share), float(1 - share), float(mills), float(excess)


def double(x):
    """Round an mpmath number to float64, as a Fraction."""
    return Fraction(float(mpmath.mpf(x)))


def unlikely(fmt, bits, parameters):
    """Value of a truncated normal that holds less than 2^-90 of the probability, in float64."""
    mean, std, low, high = (parameters[key] for key in ("mean", "std", "low", "high"))
    f64 = FORMATS["float64"]
    p, q = (f64.share(b, fmt.bits) for b in (bits, 2**fmt.bits - 1 - bits))
    if low >= 0:
        anchor, step, y = mean + std * low, std, f64.distance(p, q, low, high)
    elif high <= 0:
        anchor, step, y = mean + std * high, -std, f64.distance(q, p, -high, -low)
    else:
        middle, half = (low + high) * 0.5, (high - low) * 0.5
        anchor, step, y = mean + std * middle, std, f64.rounded(f64.rounded(p - q) * Fraction(half))
    return f64.fma(y, Fraction(step), Fraction(anchor))


def sample(dtype, distribution, parameters, seed, name, index):
    """Value `index` of a parameter: `distribution` with float64 `parameters`, as a Fraction."""
    given = FORMATS[dtype]
    fmt = given if given.bits > 16 else FORMATS["float32"]  # what is computed in
    bits = fmt.word(seed, name, index)
    exact = {key: Fraction(value) for key, value in parameters.items() if abs(value) < 1e300}
    if distribution == "uniform":
        low, high = exact["low"], exact["high"]
        first, last = given.inside(low, high)
        last = given.step(last, -1) if last == high else last
        width = fmt.rounded(Fraction(parameters["high"] - parameters["low"]))
        x = fmt.fma(fmt.unit(bits), width, fmt.rounded(low))
        return given.rounded(min(max(x, first), last))
    mean, std = fmt.rounded(exact["mean"]), fmt.rounded(exact["std"])
    s, near = fmt.centered(bits)
    if distribution == "normal":
        return given.rounded(fmt.fma(fmt.quantile(s, near), std, mean))
    low, high = parameters["low"], parameters["high"]
    with mpmath.workdps(60):
        below, above = tail_probability(-low), tail_probability(high)
        mass = (
            tail_probability(low) - above
            if low > 0
            else tail_probability(-high) - below
            if high < 0
            else 1 - below - above
        )
        below, above, mass = double(below), double(above), double(mass)
    ends = [parameters["mean"] + parameters["std"] * b for b in (low, high)]
    first, last = given.inside(*ends)
    if mass < Fraction(1, 2**90):
        return given.rounded(min(max(fmt.rounded(unlikely(fmt, bits, parameters)), first), last))
    middle = fmt.rounded(Fraction(float(below) - float(above)))
    mass = fmt.rounded(mass)
    v = fmt.fma(s, mass, middle)
    distance = near if (s < 0) == (v < 0) else fmt.rounded(2 - near)
    cut = fmt.rounded(2 * (below if v < 0 else above))
    half = Fraction(1, 2)
    q = fmt.rounded(1 - abs(v)) if abs(v) < half else min(fmt.fma(distance, mass, cut), fmt.step(half, -1))
    x = fmt.fma(fmt.quantile(v, q), std, mean)
    return given.rounded(min(max(x, first), last))
