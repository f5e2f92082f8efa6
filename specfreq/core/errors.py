"""The errors that are the caller's: what is wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """The caller's mistake. The message says what is wrong, where, and what to do; the command line exits
    with 2.
    """


def unknown(kind: str, name: object, known: Iterable[str], where: str = "", hint: str = "") -> UserError:
    """An error for an unknown name, with the nearest known one: ``unknown model 'resnt20'; did you mean
    'resnet20'?``
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    advice = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return UserError(
        f"unknown {kind} {str(name)!r}{f' for {where}' if where else ''}; "
        f"{advice}{f' ({hint})' if hint else ''}"
    )
