"""`python tools/chaos`: see fieldkit/chaos.py."""

import sys

from fieldkit.chaos import main

sys.exit(main())
