SELECT
  to_timestamp(metrics.timestamp / 1000.0) AS "time",
  runs.name AS run,
  substr(metrics.key, 8) AS event,
  metrics.value AS count,
  metrics.step,
  tags.value AS last
FROM metrics
JOIN runs ON runs.run_uuid = metrics.run_uuid
LEFT JOIN tags
  ON tags.run_uuid = runs.run_uuid AND tags.key = 'event.' || substr(metrics.key, 8)
WHERE metrics.key LIKE 'events/%' AND runs.run_uuid IN (${run:sqlstring})
ORDER BY metrics.timestamp DESC
LIMIT 200
