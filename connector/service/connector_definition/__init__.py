"""The connector definition, projected from the running application."""
