"""Every scheme, with arguments and the variance that its paper gives; iterated over by several tests."""

import math

from scipy import stats

#: Scheme, arguments and the variance that the paper gives, by the fans; written out again here.
CASES = [
    ("zeros", {}, lambda i, o: 0),
    ("ones", {}, lambda i, o: 0),
    ("constant", {"value": 3.0}, lambda i, o: 0),
    ("uniform", {"low": -1.0, "high": 3.0}, lambda i, o: 16 / 12),
    ("normal", {"std": 0.02}, lambda i, o: 0.0004),
    ("truncated_normal", {"std": 2.0}, lambda i, o: 4 * stats.truncnorm(-2, 2).var()),
    ("variance_scaling", {"scale": 3.0}, lambda i, o: 3 / i),
    ("variance_scaling", {"mode": "fan_out", "distribution": "uniform"}, lambda i, o: 1 / o),
    ("variance_scaling", {"mode": "fan_avg", "distribution": "normal"}, lambda i, o: 2 / (i + o)),
    ("variance_scaling", {"mode": "fan_geo_avg"}, lambda i, o: 1 / math.sqrt(i * o)),
    ("variance_scaling", {"mode": "fan_in_squared"}, lambda i, o: 1 / i**2),
    ("he_normal", {"mode": "fan_out"}, lambda i, o: 2 / o),
    *(
        (f"xavier_{f}", {"gain": 2.0}, lambda i, o: 8 / (i + o))
        for f in ("normal", "uniform", "truncated_normal")
    ),
    *(
        (f"he_{f}", {"negative_slope": 0.5}, lambda i, o: 1.6 / i)
        for f in ("normal", "uniform", "truncated_normal")
    ),
    *((f"lecun_{f}", {}, lambda i, o: 1 / i) for f in ("normal", "uniform", "truncated_normal")),
    ("siren", {"omega": 10.0}, lambda i, o: 6 / i / 100 / 3),
    ("siren", {"first": True}, lambda i, o: 1 / i**2 / 3),
    ("torch_linear", {}, lambda i, o: 1 / (3 * i)),
    ("torch_linear_bias", {"fan_in": 50}, lambda i, o: 1 / 150),
    ("embedding", {"std": 0.5}, lambda i, o: 0.25),
    ("gpt2_residual", {"num_layers": 12}, lambda i, o: 0.02**2 / 24),
    ("fixup", {"num_branches": 16, "branch_depth": 3}, lambda i, o: 2 / i / math.sqrt(16)),
    ("t_fixup", {"num_layers": 6}, lambda i, o: 2 / (i + o) * 0.67**2 / math.sqrt(6)),
    ("t_fixup", {"num_layers": 6, "part": "decoder"}, lambda i, o: 2 / (i + o) / math.sqrt(54)),
    ("deepnet", {"encoder_layers": 8}, lambda i, o: 2 / (i + o) / math.sqrt(64)),
    ("deepnet", {"decoder_layers": 8, "part": "decoder"}, lambda i, o: 2 / (i + o) / math.sqrt(64)),
    (
        "deepnet",
        {"encoder_layers": 100, "decoder_layers": 50},
        lambda i, o: 2 / (i + o) * (0.87 * (100**4 * 50) ** (-1 / 16)) ** 2,
    ),
    (
        "deepnet",
        {"encoder_layers": 100, "decoder_layers": 50, "part": "decoder"},
        lambda i, o: 2 / (i + o) / math.sqrt(12 * 50),
    ),
    ("mup", {"base_fan_in": 64, "std": 0.1, "role": "input"}, lambda i, o: 0.01),
    ("mup", {"base_fan_in": 64, "std": 0.1}, lambda i, o: 0.01 * 64 / i),
    ("mup", {"base_fan_in": 64, "role": "output"}, lambda i, o: (64 / i) ** 2 / 64),
    ("sparse", {"sparsity": 0.25, "std": 2.0}, None),
    ("identity", {"gain": 2.0}, None),
    ("dirac", {"gain": 2.0}, None),
    ("zero_init", {"gain": 2.0}, None),
    ("orthogonal", {"gain": 2.0}, None),
    ("delta_orthogonal", {"gain": 2.0}, None),
]
ARGUMENTS = [case[:2] for case in CASES]


def text(name, arguments):
    """Write a scheme as users do, with its arguments in brackets."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


SPECS = [text(name, arguments) for name, arguments in ARGUMENTS]
