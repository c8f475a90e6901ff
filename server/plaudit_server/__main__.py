"""`plaudit-server` and `python -m plaudit_server`."""

from __future__ import annotations

import sys

from plaudit_server.cli.main import cli


def main() -> None:
    """Run the command line; exits with its code."""
    sys.exit(cli.main(standalone_mode=True))


if __name__ == "__main__":
    main()
