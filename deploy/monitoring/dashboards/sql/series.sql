SELECT
  to_timestamp(metrics.timestamp / 1000.0) AS "time",
  runs.name || ' ' || left(runs.run_uuid, 6) || ' ' || metrics.key AS metric,
  metrics.value AS value
FROM metrics JOIN runs ON runs.run_uuid = metrics.run_uuid
WHERE metrics.key LIKE ':pattern'
  AND NOT metrics.is_nan
  AND runs.run_uuid IN (${run:sqlstring})
  AND $__unixEpochFilter(metrics.timestamp / 1000)
ORDER BY metrics.timestamp
