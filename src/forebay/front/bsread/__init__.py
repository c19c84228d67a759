"""What sf_bsread_writer's users type and send: arguments, REST, answers."""
