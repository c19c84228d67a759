"""The process of a routine: imports one registered function, calls it, and says what it returned."""

from __future__ import annotations

import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any

from forebay.service.process import die_with_parent


def call(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"returned": ...}`` or ``{"error": ...}`` of ``package.module:function``."""
    module, _, name = function.partition(":")
    try:
        answer = {"returned": getattr(import_module(module), name)(**arguments)}
        json.dumps(answer)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}
    return answer


def main() -> None:
    """Take function, descriptor of the answer and parent from the arguments, its arguments from the input."""
    function, outlet, parent = sys.argv[1:]
    die_with_parent(int(parent))
    arguments = json.load(sys.stdin)
    with os.fdopen(int(outlet), "w", encoding="utf-8") as answer:
        json.dump(call(function, arguments), answer)


if __name__ == "__main__":
    main()
