"""The virtual machine, seen from outside: how it is made, started, told what to do, and ended."""


class Failure(Exception):
    """The machine itself cannot be used; says why, and what to do."""
