"""What a flow is: the base classes, walks over them, random numbers by (seed, epoch, index), stacking."""
