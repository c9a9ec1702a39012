/*---
title = "Network"
description = "All interfaces but the loopback, the last ten minutes."
chart = { mark = "line", x = "time", y = "rate", color = "direction", format = "bytes", unit = "/s", min = 0 }
span = 2
---*/
WITH points AS (
    SELECT
        time_bucket(INTERVAL 5 SECOND, time) AS time,
        avg(net_recv) AS received,
        avg(net_sent) AS sent
    FROM machine.main.system
    GROUP BY 1
)
UNPIVOT points ON received, sent INTO NAME direction VALUE rate
ORDER BY time, direction
