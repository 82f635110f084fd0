"""What this project believes of CockroachDB, tried on a real server: ``invoke cockroach --binary PATH``."""
