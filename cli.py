"""Launcher for a checkout: `python cli.py ...` is `ctstate ...`."""

from ctstate.commands import main

if __name__ == "__main__":
    main()
