"""The temperature laboratory: what theory says of the temperature, measured on the user's own model and data."""
