"""Run the commands of README, CONTRIBUTING and docs/."""
