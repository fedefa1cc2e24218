"""What listeners hear: clips of a finished run, chosen, brought to one loudness, with MUSHRA's anchors."""
