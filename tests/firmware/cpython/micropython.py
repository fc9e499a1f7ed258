"""What the cores import from `micropython`, for CPython."""

from typing import TypeVar

T = TypeVar("T")


def const(value: T) -> T:
    return value
