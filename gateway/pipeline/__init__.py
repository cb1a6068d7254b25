"""The life of a request: the closed core whose types force the order of what must happen to every call."""
