"""``python -m forebay``: the command line, as the supervisor starts its services."""

from forebay.cli import main

main()
