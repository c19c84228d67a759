"""The network between forebay's processes and to everybody else."""
