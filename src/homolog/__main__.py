"""`python -m homolog` is the command line."""

from homolog.cli import main

main()
