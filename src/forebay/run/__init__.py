"""Control: states of a run, jobs, the bus between processes, and the operator who commands everything."""
