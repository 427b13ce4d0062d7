"""How is a word of the command line read?"""

import argparse
import math
import re
from collections.abc import Sequence
from typing import Any


def positive_int(text: str) -> int:
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def several(text: str) -> int:
    value = positive_int(text)
    if value == 1:
        raise argparse.ArgumentTypeError("1 puts all images into one cluster: at least 2")
    return value


def numbers(text: str) -> list[int]:
    """Read 2..12, which some write 2-12, or 4,7,10."""
    try:
        if span := re.fullmatch(r"\s*(\d+)\s*(?:\.\.|-)\s*(\d+)\s*", text):
            first, last = map(int, span.groups())
            numbers = list(range(first, last + 1))
        else:
            numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers:
        raise argparse.ArgumentTypeError(f"{text!r} is neither of the form 2..12 nor 4,7,10")
    if numbers[0] < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 2 clusters can be compared")
    return numbers


def seed(text: str) -> int:
    value = _whole(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not within 0 and 2**32 - 1")
    return value


def positive_float(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


class Version(argparse.Action):
    """Prints the version, which is not known before it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **kwargs: Any):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **kwargs)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        import skdcec

        print(f"skdcec {skdcec.__version__}")
        parser.exit()
