"""`python -m backchat`, the same as `backchat`."""

from backchat.cli import main

if __name__ == "__main__":
    main()
