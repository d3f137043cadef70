"""What this installation is and how it runs."""

import numpy as np

from . import _core

__version__ = _core.version()


def show_config() -> None:
    """Print versions, instruction set and number of threads."""
    lines = {
        "initcore": __version__,
        "stream": f"v{_core.stream_version()}",
        "isa": _core.get_isa(),
        "threads": _core.get_num_threads(),
        "numpy": np.__version__,
    }
    for name, value in lines.items():
        print(f"{name:10} {value}")
