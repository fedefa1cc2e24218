"""How long a run would take, from what smaller ones took: measured costs of jobs, and a simulation of who does them when."""
