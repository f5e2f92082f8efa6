"""What one notebook needs and nothing else uses; imported by notebooks, tests and benchmarks alone."""
