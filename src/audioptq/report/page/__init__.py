"""The report's page: sentences, tables and players, rendered."""
