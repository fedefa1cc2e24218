"""The page that listeners see: template, style and scripts, put into one file."""
