/*---
title = "Receiving"
description = "The busiest second of the last ten minutes stands below."
chart = { mark = "value", y = "now", format = "bytes", unit = "/s" }
---*/
SELECT
    arg_max(net_recv, time) AS now,
    max(net_recv) AS "peak, per second",
    list(net_recv ORDER BY time) AS course
FROM machine.main.system
