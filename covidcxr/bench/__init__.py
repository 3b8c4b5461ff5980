"""Speed, measured side by side: each fast path against its peer on the same work, in one run, as ratios."""
