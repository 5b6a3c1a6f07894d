"""The named cases of the design (alignment.md), each written as a scene of devices, logs and one or more aligners."""
