"""larpix-daq: its core, components, operator and arguments, to the letter where it was right."""
