"""The kernel "Python 3 (isolated)": a front that talks to Jupyter, and a companion that runs its cells."""
