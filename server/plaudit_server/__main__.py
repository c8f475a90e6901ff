"""`plaudit-server` and `python -m plaudit_server`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with its code. Without the packages that a server needs, it says what to install."""
    try:
        from plaudit_server.cli.main import cli

        sys.exit(cli.main(standalone_mode=True))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package.startswith("plaudit"):
            raise
        sys.exit(f"plaudit-server needs {package}, which is not installed: pip install 'plaudit[server]'")


if __name__ == "__main__":
    main()
