"""The role `alerts`: what the engine of `consumer/alerts` says, kept, published and told."""
