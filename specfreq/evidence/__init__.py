"""What the runs say: records, arms side by side, intervals, claims, rules, verdicts, and the tables of the
pages.
"""
