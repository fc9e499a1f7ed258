"""The platform's side: contract, broker and log, ingester, database. It knows the contract, not the gateway."""
