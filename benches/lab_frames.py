"""What one frame of each panel of the laboratory costs, in milliseconds of processor time.

``python benches/lab_frames.py`` prints a table; it takes the extra ``lab``, but no browser.
"""

import json
import time
from collections.abc import Callable

from initcore.lab import Session, Settings, charts, panels

REPEATS = 10
SIZE = (3.1, 2.7)  # inches: a panel of a page 1280 pixels wide


def cost(work: Callable[[], object]) -> float:
    """Give the least time of several."""
    times = []
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return 1e3 * min(times)


def main() -> None:
    """Measure two kinds of data."""
    print("| panel | moons, 5x32 | digits, 5x32 |\n|---|---|---|")
    columns = []
    for data in ("moons", "digits"):
        session = Session(Settings(data=data))
        view = panels.View(session.network())
        expected = view.expected(backward=False)

        def spread(view: panels.View = view, expected: list = expected) -> dict:
            return charts.depth(view.spread(backward=False), expected, what="std", dark=False)

        columns.append(
            {
                "diagnosis": cost(lambda s=session: panels.View(s.network()).report),
                "cost (chart)": cost(lambda s=session: json.dumps(charts.cost(s.snapshot(), dark=False))),
                "signals (chart)": cost(
                    lambda v=view: json.dumps(charts.signals(*v.signals(backward=False), dark=False))
                ),
                "spread (chart)": cost(lambda: json.dumps(spread())),
                "answers (picture)": cost(lambda v=view: panels.answers(v, SIZE, dark=False)),
                "network (picture)": cost(lambda v=view: panels.network(v, SIZE, dark=False, backward=False)),
            }
        )
        session.close()
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.1f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
