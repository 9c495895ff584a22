"""The temperature laboratory: what theory says of the temperature, measured on a given model and data."""
