"""What keeps an index's rows: the project's own files, LanceDB, PostgreSQL."""
