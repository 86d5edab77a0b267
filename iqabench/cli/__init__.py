"""The command line: one module per command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from iqabench.allocation import keep_freed_memory
from iqabench.cli.failing import print_error
from iqabench.cli.parser import build_parser
from iqabench.errors import IqabenchError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: every requested cell has a result. 1: something failed while running. 2: the request is
    wrong. 130: interrupted; finished cells stay.
    """
    # Before torch is loaded: threads that wait for each other by spinning make a network five to
    # ten times slower as soon as another process wants the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    try:
        given = [*(sys.argv[1:] if argv is None else argv)]
        arguments = build_parser().parse_args(given)
        arguments.given = given
        code: int = arguments.execute(arguments)
    except SystemExit as e:  # argparse: --help (0) or a bad flag (2)
        return int(e.code or 0)
    except IqabenchError as e:
        print_error(str(e))
        return e.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; nothing is left to say
        return 1
    except KeyboardInterrupt:
        print_error("interrupted; finished cells stay, run it again to go on")
        return INTERRUPTED
    return code
