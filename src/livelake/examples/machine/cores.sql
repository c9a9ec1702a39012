/*---
title = "Each core"
description = "The last five minutes, two seconds a point."
chart = { mark = "line", x = "time", y = "percent", color = "core", format = "percent", min = 0, max = 100 }
span = 2
---*/
WITH recent AS (
    SELECT time, core, percent
    FROM machine.main.cpu
    QUALIFY time > max(time) OVER () - INTERVAL 5 MINUTE
)
SELECT
    time_bucket(INTERVAL 2 SECOND, time) AS time,
    'core ' || core AS core,
    avg(percent) AS percent
FROM recent
GROUP BY ALL
ORDER BY time, min(recent.core)
