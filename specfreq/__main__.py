"""The command `specfreq`, and `python -m specfreq`: until the command line is loaded, Ctrl-C ends it without
a traceback.
"""

import os
import signal


def main() -> None:
    """Load the command line and run it; then its own handlers take over, see `processes.interruptible`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if it is ignored, as under nohup
        signal.signal(signal.SIGINT, _leave)
    from specfreq import cli

    cli.main()


def _leave(number: int, frame: object) -> None:
    os.write(2, b"specfreq: interrupted\n")
    os._exit(128 + number)  # nothing has begun that would have to be tidied up


if __name__ == "__main__":
    main()
