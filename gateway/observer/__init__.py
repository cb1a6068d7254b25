"""What operators see: metrics, usage, traces and health, all computed from the ledger's records."""
