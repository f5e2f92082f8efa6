"""What the runs say: rows and their intervals, arms compared, records, claims, rules, verdicts, tables."""
