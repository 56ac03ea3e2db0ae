"""`python -m organseg` is the command line; see `organseg.command`."""

from organseg.command.main import main

if __name__ == "__main__":
    main()
