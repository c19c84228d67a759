"""Ask simulated TARGET modules, and tell them what to do: ``python3 tm-ss-sim/sim_control.py status``."""

from forebay.cli.sim_control import run_sim_control

if __name__ == "__main__":
    run_sim_control()
