"""Reading tables: files and data sets of rows, checked, with errors that name the file, the row and the column."""
