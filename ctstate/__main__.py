"""`python -m ctstate ...` is `ctstate ...`."""

from ctstate.commands import main

main()
