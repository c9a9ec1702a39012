"""``python -m livelake`` is the ``livelake`` command."""

from livelake.cli import main

main()
