/*---
title = "Disk"
description = "All disks, the last ten minutes."
chart = { mark = "line", x = "time", y = "rate", color = "direction", format = "bytes", unit = "/s", min = 0 }
span = 2
---*/
WITH points AS (
    SELECT
        time_bucket(INTERVAL 5 SECOND, time) AS time,
        avg(disk_read) AS read,
        avg(disk_write) AS written
    FROM machine.main.system
    GROUP BY 1
)
UNPIVOT points ON read, written INTO NAME direction VALUE rate
ORDER BY time, direction
