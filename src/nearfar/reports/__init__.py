"""Everything that people look at: pages, charts, console tables and their templates."""
