"""The data interface between boards and the rest."""

import sys

if __name__ == "__main__":
    if not __package__ and not sys.flags.safe_path:
        del sys.path[0]  # this folder, whose operator.py is not Python's
    from forebay.cli.larpix_daq import run_script

    run_script("producer")
