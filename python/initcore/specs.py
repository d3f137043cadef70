"""What users write: things with arguments, "sgd(0.05, momentum=0.9)", and widths of layers, "2x256,10"."""

from __future__ import annotations

import ast
import re
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


def widths(text: str) -> tuple[int, ...]:
    """Read widths of layers: "256,256,10", "5x256", or both as in "2x256,10".

    Raises
    ------
    ValueError
        The text is something else.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:(\d{1,3})\s*x\s*)?(\d+)\s*", part, re.ASCII)
        if match is None or not all(int(n) for n in match.groups(default="1")):
            msg = f"expected widths such as 256,256 or 5x256, got {text!r}"
            raise ValueError(msg)
        found += [int(match[2])] * int(match[1] or 1)
    return tuple(found)
