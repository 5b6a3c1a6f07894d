"""The same alignment and fusion code without a broker, in virtual time, as fast as it goes."""
