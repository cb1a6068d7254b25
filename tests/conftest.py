"""For all tests: laws are checked by what they find, never by how long a busy machine takes for one example."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
