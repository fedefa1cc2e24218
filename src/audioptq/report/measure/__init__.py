"""What the report states: the table, intervals, comparisons, published values."""
