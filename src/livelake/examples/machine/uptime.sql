/*---
title = "Running for"
chart = { mark = "value", y = "uptime", format = { uptime = "duration", processes = ",d" } }
---*/
SELECT
    arg_max(uptime, time) AS uptime,
    arg_max(processes, time) AS processes
FROM machine.main.system
