"""`python -m ecsd.executor`."""

from __future__ import annotations

from ecsd.executor.main import main

if __name__ == "__main__":
    main()
