"""The command line: thin over the library. Every error is one line on standard error and a status of its own.

Status 0: done. 1: it could not be done; the line says why. 2: the command was not understood (click's own).
130: interrupted.
"""

from __future__ import annotations

import logging
import sys

import click

from livelake import __version__
from livelake.cli.demo import demo
from livelake.cli.query import query, watch, why
from livelake.cli.serve import serve
from livelake.errors import LivelakeError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="livelake")
def cli() -> None:
    """Answers of a DuckDB or DuckLake database: cached, provably fresh, pushed to whoever is watching."""


for command in (demo, serve, query, watch, why):
    cli.add_command(command)


def main() -> None:
    """The entry point of the ``livelake`` command."""
    logging.basicConfig(level=logging.WARNING, format="livelake: %(message)s", stream=sys.stderr)
    try:
        cli(standalone_mode=False, prog_name="livelake")
    except LivelakeError as error:
        sys.exit(_fail(str(error)))
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, as `| head` does
        sys.exit(0)


def _fail(message: str) -> int:
    click.echo(f"livelake: {' '.join(message.split())}", err=True)
    return 1
