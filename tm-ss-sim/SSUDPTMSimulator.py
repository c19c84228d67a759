"""One simulated TARGET module: ``python3 tm-ss-sim/SSUDPTMSimulator.py 2009 localhost``."""

from forebay.cli.tm_sim import simulator

if __name__ == "__main__":
    simulator()
