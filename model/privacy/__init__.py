"""Training that tells little of any one sample, what that costs, and what an attacker sees without it."""
