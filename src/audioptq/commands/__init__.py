"""Commands of `audioptq`: one file each, which declares its arguments and runs; torch is imported when one needs it."""
