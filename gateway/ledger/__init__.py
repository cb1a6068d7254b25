"""The ledger: one durable, tamper-evident record per prediction; everything else is a projection of it."""
