"""What is put on the PYTHONPATH of processes under test."""
