"""The checks of `connector doctor`."""
