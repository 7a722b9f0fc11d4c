"""Pure mathematics on arrays: no parameters are owned here, no state is kept."""
