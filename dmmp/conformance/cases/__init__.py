"""The cases, by sections of the requirements; `catalogue` gathers them."""
