/*---
title = "Busiest now"
description = "100 % is one core; the average of the last five seconds."
chart = { mark = "bar", x = "cpu", y = "process", format = "percent", min = 0 }
span = 2
---*/
WITH recent AS (
    SELECT time, name, pid, cpu_percent
    FROM machine.main.process
    QUALIFY time > max(time) OVER () - INTERVAL 5 SECOND
)
SELECT
    coalesce(name, 'process ' || pid) AS process,
    sum(cpu_percent) / (SELECT count(DISTINCT time) FROM recent) AS cpu
FROM recent
GROUP BY ALL
HAVING sum(cpu_percent) > 0
ORDER BY cpu DESC, process
LIMIT 8
