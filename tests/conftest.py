"""What holds for every test."""

import hypothesis

# No deadline for one example: the machine may be busy. pytest-timeout bounds the test as a whole.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")
