"""Running a transformer on the tokens of many texts in one row, without padding."""
