"""The simulated commune: truth as a function of (time, seed), served over real protocols."""
