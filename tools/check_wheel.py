"""Check a built wheel in a clean environment without a Rust toolchain: tools/check_wheel.py WHEEL.

The wheel must carry the abi3 tag and, on Linux, a portable platform tag. It must install
from binary packages alone, and what is installed must sample a slice with the bits of the whole.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

SMOKE = """
import numpy as np
import initcore as ic

whole = ic.he_normal((784, 256), seed=0, name="fc1.weight")
part = ic.he_normal((784, 256), seed=0, name="fc1.weight", index=np.s_[:, 64:128])
assert whole.dtype == np.float32 and whole.shape == (784, 256)
assert np.array_equal(part, whole[:, 64:128]), "a slice differs from the slice of the whole"
assert abs(float(whole.std()) - (2 / 784) ** 0.5) < 1e-3, "he_normal has the wrong spread"
print("ok:", ic.__file__)
"""


def check_tags(wheel: Path) -> None:
    """Fail unless the file name promises abi3 and a platform that pip accepts elsewhere."""
    _, abi, platform = wheel.stem.rsplit("-", 2)
    if abi != "abi3":
        sys.exit(f"{wheel.name}: the ABI tag is {abi!r}, expected 'abi3'")
    if platform.startswith("linux_"):
        sys.exit(f"{wheel.name}: the platform tag is {platform!r}, expected manylinux or musllinux")


def check_install(wheel: Path) -> None:
    """Install into a new environment whose PATH holds nothing else, then sample."""
    with tempfile.TemporaryDirectory() as root:
        venv.create(root, with_pip=True)
        scripts = Path(root, "Scripts" if os.name == "nt" else "bin")
        python = [str(scripts / "python"), "-I"]
        env = {**os.environ, "PATH": str(scripts)}
        install = [*python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", str(wheel)]
        if subprocess.run(install, env=env, check=False).returncode:
            sys.exit(f"{wheel.name}: does not install from binary packages alone")
        if subprocess.run([*python, "-c", SMOKE], env=env, cwd=root, check=False).returncode:
            sys.exit(f"{wheel.name}: installed, but does not work")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    path = Path(sys.argv[1]).resolve(strict=True)
    check_tags(path)
    check_install(path)
