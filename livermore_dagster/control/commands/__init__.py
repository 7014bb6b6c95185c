"""The control channel: commands to an exchange's instance, each acknowledged, run once, answered (C1, C2)."""
