"""The command `specfreq`: reads the command line, calls the package, prints. Commands; no logic."""

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence

import click

import specfreq
from specfreq.cli import base, data, experiments, predict, studies
from specfreq.core import processes
from specfreq.core.errors import UserError

# Heavy modules are imported by the commands that need them: `specfreq --help` answers at once.


@click.group(cls=base.Group)
@click.version_option(specfreq.__version__, message="specfreq %(version)s", help="show the version")
def app() -> None:
    """How image classifiers use frequency, phase and texture: studies, experiments and the book made of them.

    \b
    specfreq list                                     what there is: studies, data, models, filters
    specfreq run image-spectra --help                 what a study lets you change
    specfreq run image-spectra -p data digits -o spectra.ipynb
    specfreq sweep image-spectra -p data=photos,digits   a study for several values, side by side
    specfreq book                                     run all studies, build the book
    specfreq train --data digits --epochs 5           one experiment, without a notebook
    specfreq predict RUN photo.jpg                    what a trained network says of a picture
    """


for command in (*studies.COMMANDS, *experiments.COMMANDS, *predict.COMMANDS, data.app):
    app.add_command(command)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line.

    Exit code 2: the caller's mistake; 1: a run that failed; 128 + N: ended by signal N, 130 is Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal or a pipe cannot show is escaped
            stream.reconfigure(errors="backslashreplace")
    with processes.interruptible():
        _main(sys.argv[1:] if args is None else args)


def _main(args: Sequence[str]) -> None:
    try:
        with app.make_context("specfreq", list(args)) as context:
            app.invoke(context)
            if sys.stdout is not None:
                sys.stdout.flush()  # what cannot be written is found here, not when Python ends
            context.exit()
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        place = context.command_path if context else "specfreq"
        _stop(f"{error.format_message().rstrip('.')} ({place} --help tells more)", 2)
    except UserError as error:
        _stop(error, 2)
    except KeyboardInterrupt:
        number = processes.received()
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        if processes.ending():
            processes.leave(number, f"interrupted{by}")
        _stop(f"interrupted{by}", 128 + number)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _write_no_more()
        sys.exit(1)
    except ConnectionError as error:
        _stop(error, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _write_no_more()
        _stop(f"cannot write the output: {error.strerror}", 1)
    except RuntimeError as error:
        if not type(error).__module__.startswith("specfreq."):
            raise  # a defect of the program, not a run that failed
        _stop(error, 1)


def _write_no_more() -> None:
    """What is left to be printed goes nowhere: Python would fail to write it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop(message: object, code: int) -> None:
    print(f"specfreq: {message}", file=sys.stderr)
    sys.exit(code)
