"""The only loops over rows, wherever they lie: sources, scans, the two products, budgets, workers."""
