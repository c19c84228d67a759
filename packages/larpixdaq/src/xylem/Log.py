"""The log of all components."""  # noqa: N999

import sys

if __name__ == "__main__":
    if not __package__ and not sys.flags.safe_path:
        del sys.path[0]
    from forebay.cli.larpix_daq import run_script

    run_script("log")
