"""Why: one prediction with its inputs, its mask, what each sense contributed, and what would have been said without it."""
