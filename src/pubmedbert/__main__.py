"""`python -m pubmedbert`, as torchrun starts it."""

from pubmedbert.cli import main

if __name__ == "__main__":
    main()
