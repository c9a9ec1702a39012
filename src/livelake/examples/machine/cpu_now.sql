/*---
title = "CPU"
description = "All cores, against the average of the last minute."
chart = { mark = "value", y = "now", x = "the last minute", format = "percent" }
---*/
WITH recent AS (
    SELECT time, cpu_percent
    FROM machine.main.system
    QUALIFY time > max(time) OVER () - INTERVAL 1 MINUTE
)
SELECT
    arg_max(cpu_percent, time) AS now,
    avg(cpu_percent) AS "the last minute",
    list(cpu_percent ORDER BY time) AS course
FROM recent
