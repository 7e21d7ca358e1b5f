"""`python -m ctstate ...` is `ctstate ...`.

Encoding processes import the program's main module, too: so nothing is imported here but by `main`.
"""

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line."""
    from ctstate import commands

    commands.main()


if __name__ == "__main__":
    main()
