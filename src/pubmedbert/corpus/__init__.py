"""From NLM XML and JSON lines to a corpus store: Parquet parts, resolved by DuckDB."""
