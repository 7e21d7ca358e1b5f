"""Launcher for a checkout: `python cli.py ...` is `ctstate ...`."""

from ctstate.__main__ import main

if __name__ == "__main__":
    main()
