"""Every example of the adapters' pages runs, and prints what the page says it prints.

The blocks of Python of a page are one program, run in a process of its own. A block of text right after one
of them is what it prints.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["pytorch", "distributed", "jax", "keras", "dask", "files", "data-parallel"]
MARK = "--- the output of the next block ---"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run_and_print_what_it_says(page, tmp_path):
    blocks = BLOCK.findall((DOCS / f"{page}.md").read_text())
    assert blocks
    program = "".join(f"{code}\nprint({MARK!r}, flush=True)\n" for code, _ in blocks)
    (tmp_path / "page.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:initcore", "page.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(MARK + "\n")
    assert len(printed) == len(blocks) + 1
    for (code, promised), output in zip(blocks, printed, strict=False):
        if promised:
            assert output.split() == promised.split(), code
