"""HTTP in, HTTP out; what lies between is in the modules above."""
