"""Callback plugins that Ansible loads from this directory (see `enos_crdb.ansible`)."""
