"""`python -m ecsd.core`."""

from __future__ import annotations

from ecsd.core.main import main

if __name__ == "__main__":
    main()
