"""Files for `connector emulator --plugins`: what organizations do when something is closed."""
