"""The laboratory: train in the browser, and watch what an initialization does.

`settings` and `session` know no page: what to train, and the training. `panels` and `charts` say what
there is to see of it; `app` is the page, out of `widgets` and `words`.
"""

from __future__ import annotations

from .session import Session, Snapshot
from .settings import Settings

__all__ = ["Session", "Settings", "Snapshot", "main"]


def main(port: int = 8090, *, browser: bool = True) -> None:
    """Serve the laboratory on 127.0.0.1 until Ctrl-C.

    Parameters
    ----------
    port : int
        To listen on.
    browser : bool
        Open the page.

    Raises
    ------
    ImportError
        The packages of the extra are not installed.
    OSError
        The port is taken.
    """
    try:
        import matplotlib as mpl  # noqa: F401
        import nicegui  # noqa: F401
        import sklearn  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the laboratory needs {error.name}: pip install 'initcore[lab]'") from None
    from .app import serve

    serve(port, browser=browser)
