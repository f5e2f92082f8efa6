"""`python -m specfreq` is the command `specfreq`."""

from specfreq.cli import main

if __name__ == "__main__":
    main()
