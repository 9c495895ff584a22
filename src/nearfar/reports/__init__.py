"""The pages, charts and console tables that people read, and their templates."""
