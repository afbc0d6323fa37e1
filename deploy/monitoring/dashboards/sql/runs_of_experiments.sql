SELECT runs.name || ' ' || left(runs.run_uuid, 6) AS __text, runs.run_uuid AS __value
FROM runs JOIN experiments ON experiments.experiment_id = runs.experiment_id
WHERE runs.lifecycle_stage = 'active' AND experiments.name IN (${experiment:sqlstring})
ORDER BY runs.start_time DESC
LIMIT 200
