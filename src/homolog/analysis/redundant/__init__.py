"""Which blocks of a deep network change little: what they do to the residual stream, and what that says."""
