/*---
title = "Memory"
description = "Used and available add up to what there is."
chart = { mark = "area", x = "time", y = "bytes", color = "memory", format = "bytes", stack = true, min = 0 }
span = 2
---*/
WITH points AS (
    SELECT
        time_bucket(INTERVAL 5 SECOND, time) AS time,
        avg(mem_total - mem_available) AS used,
        avg(mem_available) AS available
    FROM machine.main.system
    GROUP BY 1
)
UNPIVOT points ON used, available INTO NAME memory VALUE bytes
ORDER BY time, memory DESC
