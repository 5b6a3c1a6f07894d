"""The peers: the same job, each in its own framework and environment. They import nothing from Braid."""
