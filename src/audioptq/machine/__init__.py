"""What machine this is: devices, memory, and packages made for other surroundings."""
