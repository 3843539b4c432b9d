"""The parts of bench/supervisors.py."""
