"""`python -m plaudit`: the command line."""

from plaudit._cli.main import main

if __name__ == "__main__":
    main()
