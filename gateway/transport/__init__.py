"""How bytes arrive and leave. A transport knows nothing of inference; the seam says what it must do."""
