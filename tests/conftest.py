"""Settings that every Python test shares."""

from hypothesis import settings

# The same examples on every run and machine: a failure is a change, never luck.
# `--hypothesis-profile=search` looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, database=None)
settings.register_profile("ci", settings.get_profile("default"))
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("default")
