"""The reproduction's results: gathered from finished runs as CSV files, and every table and picture made from these."""
