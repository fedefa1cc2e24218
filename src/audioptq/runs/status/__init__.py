"""How far a run is, from the files that its jobs leave behind; nothing is asked of the jobs themselves."""
