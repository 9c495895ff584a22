"""Reading tables: files and data sets of rows, checked, with errors that name file, row and column."""
