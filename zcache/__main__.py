"""`python -m zcache`."""

import sys

from .commands import main

sys.exit(main())
