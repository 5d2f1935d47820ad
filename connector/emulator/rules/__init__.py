"""What the emulated service refuses, and on what evidence; what the sources leave open, as switches."""
