"""A job worked on by many machines that share a store in PostgreSQL."""
