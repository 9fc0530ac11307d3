"""`python -m segwright.cli`."""

from segwright.cli.app import main

main()
