"""HTTP as the emulator answers it: small responses, and how a face talks to the core."""
