"""What holds for every test."""

import os

from hypothesis import settings

# No test is timed. Where the landing depends on it, the same examples are drawn every time.
settings.register_profile("eckart", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("eckart")
