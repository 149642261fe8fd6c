"""Words that several commands say."""

from __future__ import annotations


def number_of(count: int, noun: str, plural: str = "s") -> str:
    """``1 case``, ``12 cases``; `plural` is what the noun ends with where there is not one."""
    return f"{count} {noun}{'' if count == 1 else plural}"
