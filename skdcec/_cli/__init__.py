"""The command ``skdcec``: a folder of images in, clusters to look at out.

Results go to stdout or to files, everything else to stderr.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from skdcec._cli.arguments import parse
from skdcec._cli.console import describe, say, warnings_as_messages
from skdcec._cli.progress import showing


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, default=None
        The arguments, by default those of the process.

    Returns
    -------
    status : int
        0 when something usable was found or written, 1 when not, 130 after Ctrl-C. Wrong
        arguments end the process with 2.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names may hold what the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    name, options = parse(argv)
    # What takes seconds to import is imported with its command: the help must not wait for it.
    command = import_module(f"skdcec._cli.{name.replace('-', '_')}")
    try:
        from skdcec._cli.images import leaving_nothing, what_is_kept

        with warnings_as_messages(), leaving_nothing(options):
            try:
                with showing(quiet=options.quiet, form=options.progress):
                    command.run(options)
            except KeyboardInterrupt:
                say(f"Stopped.{what_is_kept(options)}")
                return 130
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    except BrokenPipeError:
        # Whoever read our results, `head` for one, has seen enough. Nothing is left to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MemoryError:
        say("error: not enough memory; try --sample N, a smaller --size or --device cpu.")
        return 1
    except (ValueError, OSError, ImportError) as error:
        say(f"error: {describe(error)}")
        return 1
    return 0
