-- The alert that has waited longest to be judged by the notifier.
SELECT min(id) FROM alert_history WHERE routed_ms IS NULL
