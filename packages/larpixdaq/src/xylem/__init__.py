"""The part of xylem that is started by name: its log, with forebay behind it."""
