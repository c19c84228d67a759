"""larpix-daq's module name, with forebay behind it.

``python -m larpixdaq.core`` and the like, and ``python core.py`` in this folder, start forebay's components;
`larpixdaq.operator.Operator` talks to them, and to those of the original.
"""
