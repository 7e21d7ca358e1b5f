"""What Panoptes has, one module for each kind of resource: a connection's methods to read and to change it."""
