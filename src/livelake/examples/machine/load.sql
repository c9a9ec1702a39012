/*---
title = "Load"
description = "Processes that run or wait to, averaged over one, five and fifteen minutes."
chart = { mark = "line", x = "time", y = "load", color = "average", format = ",.2f", min = 0 }
span = 2
---*/
WITH points AS (
    SELECT
        time_bucket(INTERVAL 5 SECOND, time) AS time,
        avg(load1) AS "1 minute",
        avg(load5) AS "5 minutes",
        avg(load15) AS "15 minutes"
    FROM machine.main.system
    GROUP BY 1
)
UNPIVOT points ON "1 minute", "5 minutes", "15 minutes" INTO NAME average VALUE load
ORDER BY time, average
