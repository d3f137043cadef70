"""Things named in text, with arguments: "normal(0.01)", "sgd(0.05, momentum=0.9)"."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


def make(text: str, makers: Mapping[str, Callable[..., T]], what: str) -> T:
    """Read a name with arguments, Python literals in brackets, and call what stands under that name.

    Parameters
    ----------
    text : str
        The name alone calls without arguments.
    makers : mapping of str to callable
        What there is.
    what : str
        What they are, for the messages.

    Raises
    ------
    ValueError
        The text cannot be read, the name is unknown, or the arguments are wrong.
    """
    known = f"expected one of {', '.join(makers)}"
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = call.func.id.lower() if isinstance(call.func, ast.Name) else ""
        args = [ast.literal_eval(arg) for arg in call.args]
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        msg = f"cannot read the {what} {text!r}: {known}, with arguments as in 'name(0.5, key=1)'"
        raise ValueError(msg) from None
    if name not in makers:
        msg = f"unknown {what} {text!r}: {known}"
        raise ValueError(msg)
    try:
        return makers[name](*args, **options)
    except (TypeError, OverflowError) as error:
        msg = f"wrong arguments in the {what} {text!r}: {error}"
        raise ValueError(msg) from None
