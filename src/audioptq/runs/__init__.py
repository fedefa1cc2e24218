"""A run of the workflow, seen from outside its stages: jobs, drivers, the check of its config, its status."""
