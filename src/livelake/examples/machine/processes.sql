/*---
title = "Processes"
description = "The busiest of the newest sample."
chart = { mark = "table", format = { cpu = "percent", memory = "bytes", pid = "d" } }
span = 2
---*/
WITH newest AS (
    SELECT pid, name, cpu_percent, rss
    FROM machine.main.process
    QUALIFY time = max(time) OVER ()
)
SELECT name, pid, cpu_percent AS cpu, rss AS memory
FROM newest
ORDER BY cpu DESC NULLS LAST, memory DESC NULLS LAST, pid
