"""The README's promise: one parameter, every framework, 1 to 8 shards, one SHA-256."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_framework_and_number_of_shards_gives_the_bytes_of_the_readme():
    script = ROOT / "examples" / "one_hash.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stdout  # a framework that gave two digests would have two lines
    assert len({line.split()[-1] for line in lines}) == 1, done.stdout
    printed = re.search(
        r"examples/one_hash\.py` prints\s*```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert printed[1] == done.stdout
