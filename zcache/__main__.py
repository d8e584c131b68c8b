"""`python -m zcache`."""

import sys

from .cli import main

sys.exit(main())
