"""Is it good, is it new, is it varied? Metrics as pure functions of arrays and strings."""
