"""`python -m jaxact`: the command line."""

from __future__ import annotations

from jaxact.cli import main

if __name__ == "__main__":
    main()
