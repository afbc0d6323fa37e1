SELECT
  experiments.name AS experiment,
  runs.name AS run,
  runs.run_uuid AS id,
  runs.status,
  to_timestamp(runs.start_time / 1000.0) AS started,
  (COALESCE(runs.end_time, EXTRACT(EPOCH FROM now()) * 1000) - runs.start_time) / 1000.0 AS seconds,
  MAX(latest_metrics.step) AS step,
  MAX(latest_metrics.value) FILTER (WHERE latest_metrics.key = 'train/loss') AS "train/loss",
  MAX(latest_metrics.value) FILTER (WHERE latest_metrics.key = 'val/loss') AS "val/loss",
  MAX(latest_metrics.value) FILTER (WHERE latest_metrics.key = 'val/accuracy') AS "val/accuracy"
FROM runs
JOIN experiments ON experiments.experiment_id = runs.experiment_id
LEFT JOIN latest_metrics ON latest_metrics.run_uuid = runs.run_uuid
WHERE runs.run_uuid IN (${run:sqlstring})
GROUP BY experiments.name, runs.name, runs.run_uuid
ORDER BY runs.start_time DESC
