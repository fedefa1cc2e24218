"""Files that are whole or absent: parquet, safetensors and JSON with checksums, written under another name and renamed."""
