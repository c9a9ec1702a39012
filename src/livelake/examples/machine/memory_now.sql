/*---
title = "Memory in use"
chart = { mark = "value", y = "used", format = "bytes" }
---*/
SELECT
    arg_max(mem_total - mem_available, time) AS used,
    arg_max(mem_total, time) AS total,
    arg_max(swap_used, time) AS swap
FROM machine.main.system
