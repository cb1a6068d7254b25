"""The composition roots: what a worker, the observer and the supervisor are made of, and how they live together."""
