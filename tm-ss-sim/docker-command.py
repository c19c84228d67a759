"""A container for each module of a camera: ``python tm-ss-sim/docker-command.py -r -N 32``."""

from forebay.cli.tm_sim import docker_command

if __name__ == "__main__":
    docker_command()
