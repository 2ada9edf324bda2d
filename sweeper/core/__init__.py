"""Plain Python: settings, rules, plans, outcomes, statistics and the loop; knows no framework."""
