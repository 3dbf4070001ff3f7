"""DataFrames and arrays with labels as layers whose rows have identities. No library is imported that is not imported already."""
