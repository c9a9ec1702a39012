"""The command line: thin over the library. Every error is one line on standard error and a status of its own.

Status 0: done. 1: it could not be done; the line says why. 2: the command was not understood (click's own).
130: interrupted; for commands that run until they are stopped (demo, serve, watch, tail, router) that is the normal
end, 0.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

import click

from livelake import __version__
from livelake.cli.demo import demo
from livelake.cli.export import export
from livelake.cli.init import init
from livelake.cli.maintain import maintain
from livelake.cli.publish import publish
from livelake.cli.query import query, watch, why
from livelake.cli.router import router
from livelake.cli.serve import serve
from livelake.cli.tail import tail
from livelake.cli.terminal import begin_output, clean
from livelake.engine import WORKER_NAME
from livelake.errors import LivelakeError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="livelake")
def cli() -> None:
    """Answers of a DuckDB or DuckLake database: cached, provably fresh, pushed to whoever is watching."""


for command in (demo, init, serve, export, query, watch, why, maintain, publish, tail, router):
    cli.add_command(command)


def main() -> None:
    """The entry point of the ``livelake`` command."""
    begin_output()
    status = _run()
    if any(thread.name.startswith(WORKER_NAME) for thread in threading.enumerate()):
        # A query that does not heed its interrupt: it would hold up our end, or turn it into a crash.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _run() -> int:
    try:
        with cli.make_context("livelake", sys.argv[1:]) as context:
            cli.invoke(context)
        sys.stdout.flush()  # here, where a failure can still be told
        return 0
    except LivelakeError as error:
        return _fail(str(error))
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(_in_one_line(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except OSError as error:  # of standard output: all others were mapped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left has nowhere to go
        if isinstance(error, BrokenPipeError):
            return 0  # whoever read it has seen enough, as `| head` does
        return _fail(f"standard output cannot be written: {error.strerror}")


def _in_one_line(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return message if context is None else f"{message} (see {context.command_path} --help)"


def _fail(message: str, status: int = 1) -> int:
    click.echo(f"livelake: {clean(' '.join(message.split()))}", err=True)
    return status
