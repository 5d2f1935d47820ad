"""The emulated organization behind one small set of operations: create, update, delete, associate, call."""
