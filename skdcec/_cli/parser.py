"""How is help laid out, and what is answered to words that mean nothing?"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import NoReturn

# Wider lines are hard to read, however wide the terminal is.
_MAX_WIDTH = 88


class Parser(argparse.ArgumentParser):
    """Reads words, and asks whether another one was meant where one means nothing."""

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End the process because of words that stand where none is read."""
        first = words[0].split("=")[0]
        if first.startswith("-"):
            text = f"there is no option {first}{meant(first, self._option_string_actions)}"
            self.error(f"{text}; {self.prog} --help lists all.")
        self.error(f"{first!r} is a word too many; a name with spaces stands in quotes.")

    def error(self, message: str) -> NoReturn:
        """End the process, and say why in one line below the usage."""
        wrong = re.match(r"argument COMMAND: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            word, commands = wrong[1], re.findall(r"[\w-]+", wrong[2])
            message = f"there is no command {word}{meant(word, commands)}; {self.prog} --help"
            message += " lists all."
        super().error(message)


def meant(word: str, known: Iterable[str]) -> str:
    """Ask whether a known word was meant, if one is much like this."""
    close = difflib.get_close_matches(word, [*known], n=1)
    return f" (is {close[0]} meant?)" if close else ""


def filled(text: str) -> str:
    """Return paragraphs, each broken to the width of the terminal."""
    width = min(_MAX_WIDTH, shutil.get_terminal_size().columns - 2)
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(
        textwrap.fill(paragraph.strip(), max(width, 20), break_on_hyphens=False)
        for paragraph in paragraphs
    )
