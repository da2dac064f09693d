"""What can be asked of the system: command models, their handlers, and the bus that carries them out."""
