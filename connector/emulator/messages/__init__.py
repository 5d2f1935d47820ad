"""The close messages: what winning, losing, closing, revising and reopening do to rows."""
