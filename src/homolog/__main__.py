"""`python -m homolog` is the command line."""

from homolog.cli import main

if __name__ == "__main__":
    main()
