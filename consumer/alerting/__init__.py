"""The role `alerts`: rules are evaluated over what comes from the bus, and what happens is told."""
