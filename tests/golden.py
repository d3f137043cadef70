"""Golden hashes of stream v1: SHA-256 over the little-endian bytes of sampled arrays.

Values are interface, and v1 is frozen: a hash that changes is a bug in the change. ``python tests/golden.py``
adds the hashes of what is new to the file.
"""

import hashlib
import json
from pathlib import Path

import initcore as ic
from initcore import _core

FILE = Path(__file__).parent / "vectors" / "golden_v1.json"

INITIALIZERS = {
    "uniform": ic.Uniform(),
    "uniform(-0.3, 0.7)": ic.Uniform(-0.3, 0.7),
    "normal": ic.Normal(),
    "normal(0.1, 0.02)": ic.Normal(0.1, 0.02),
    "truncated_normal": ic.TruncatedNormal(),
    "truncated_normal(0, 1, 1.5, inf)": ic.TruncatedNormal(0.0, 1.0, 1.5, float("inf")),
    "truncated_normal(0.5, 0.1, -1, 4)": ic.TruncatedNormal(0.5, 0.1, -1.0, 4.0),
    "truncated_normal(0.5, 0.1, -inf, -12)": ic.TruncatedNormal(0.5, 0.1, -float("inf"), -12.0),
    "truncated_normal(0.1, 1e28, -1e-30, 3e-30)": ic.TruncatedNormal(0.1, 1e28, -1e-30, 3e-30),
    **{name: ic.get(name) for name, _ in _core.schemes()},
    "siren(first=True)": ic.get("siren(first=True)"),
    "identity(0.5)": ic.Identity(0.5),
    "zero_init": ic.ZerO(),
    "sparse(0.3)": ic.Sparse(0.3),
    "embedding(0.02, padding_idx=0)": ic.Embedding(0.02, padding_idx=0),
}
#: These take matrices only.
OF_MATRICES = (ic.Sparse, ic.Embedding)
SHAPES = [(1, 1), (7, 9), (64, 64), (300, 257), (3, 3, 16, 32)]
STREAMS = [(0, None), (2**64 - 1, "layers.0.weight"), (42, "Gewicht für Ebene 1")]
DTYPES = ["float32", "float64", "float16", "bfloat16"]


def hashes() -> dict[str, str]:
    """Hash every initializer and dtype over all shapes and streams."""
    found = {}
    for label, init in INITIALIZERS.items():
        for dtype in DTYPES:
            digest = hashlib.sha256()
            for shape in [s for s in SHAPES if len(s) == 2 or not isinstance(init, OF_MATRICES)]:
                for seed, name in STREAMS:
                    values = init(shape, seed=seed, name=name, dtype=dtype)
                    integers = values.view(f"u{values.itemsize}")
                    digest.update(integers.astype(f"<u{values.itemsize}").tobytes())
            found[f"{label} {dtype}"] = digest.hexdigest()
    return found


if __name__ == "__main__":
    known, found = json.loads(FILE.read_text()), hashes()
    changed = [label for label, digest in known.items() if found.get(label) != digest]
    if changed:
        raise SystemExit(f"values of stream v1 have changed: {changed}")
    FILE.write_text(json.dumps(found, indent=1) + "\n")
