"""Studies that are shipped: `enos_crdb campaign NAME` runs one, `--short` a small variant on this machine."""
