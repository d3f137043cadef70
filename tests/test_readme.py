"""The README's example runs and says what it is printed to say."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example(capsys):
    code, printed = re.search(r"```python\n(.*?)```\s*prints\s*```\n(.*?)```", README, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    lines, expected = capsys.readouterr().out.splitlines(), printed.splitlines()
    assert len(lines) == len(expected) == 3
    for line, promised in zip(lines, expected, strict=True):
        init, *numbers = re.split(r"\s+(?:loss|accuracy)?\s*", line)
        known, *promises = re.split(r"\s+(?:loss|accuracy)?\s*", promised)
        assert init == known
        # matrix products may round differently on another machine
        for number, promise in zip(numbers, promises, strict=True):
            assert abs(float(number) - float(promise)) < 0.05


def test_links_lead_somewhere_and_nothing_was_left_to_fill_in():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (root / target).exists(), target
    assert not re.findall(r"^[A-Z_]{4,}$", README, re.MULTILINE)
