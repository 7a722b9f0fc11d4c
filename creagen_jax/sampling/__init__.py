"""Drawing samples. Nothing here knows a model: a model enters as a function."""
