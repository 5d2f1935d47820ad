"""What `connector demo` does, and the reader that checks it."""
