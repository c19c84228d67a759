"""The REST interface: what the operator can do, for everyone who speaks HTTP."""
