"""Reads a run's logs again and says whether all is as promised; shares nothing with the services but the contract."""
