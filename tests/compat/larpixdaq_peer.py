"""larpix-daq's own scripts and operator, in their own environment, with another port of the core."""

import functools
import inspect
import json
import os
import runpy
import sys

import larpixdaq.core
import requests


def main():
    port, script, *arguments = sys.argv[1:]
    larpixdaq.core.CORE_PORT = int(port)
    if web := os.environ.get("FOREBAY_WEB_PORT"):
        post_to(web)
    if script == "core":
        core = larpixdaq.core.LArPixCore(f"tcp://127.0.0.1:{port}", arguments[0])
        core.run()
    elif script == "log":
        sys.argv = ["Log", *arguments]
        runpy.run_module("xylem.Log", run_name="__main__")
    elif script == "operator":
        operate(arguments)
    else:
        sys.argv = [script, *arguments]
        runpy.run_module(f"larpixdaq.{script}", run_name="__main__")


def post_to(port):
    """Post to another port than 5000."""
    for name in ("post", "delete"):
        method = getattr(requests, name)
        moved = functools.partial(moved_to, port, method)
        setattr(requests, name, moved)


def moved_to(port, method, url, **more):
    return method(url.replace(":5000/", f":{port}/"), **more)


def operate(arguments):
    """Call methods of the operator, ``name`` or ``name:JSON of arguments``; print the answers of each."""
    from larpixdaq.operator import Operator

    operator = Operator()
    for text in arguments:
        name, _, params = text.partition(":")
        method = getattr(operator, name)
        options = {"timeout": 20} if "timeout" in inspect.signature(method).parameters else {}
        answers = list(method(*json.loads(params or "[]"), **options))
        print(json.dumps(answers), flush=True)
    operator.cleanup()


if __name__ == "__main__":
    main()
