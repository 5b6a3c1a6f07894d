"""The peers: the same job, each in its own framework and its own environment. They import nothing of Braid."""
