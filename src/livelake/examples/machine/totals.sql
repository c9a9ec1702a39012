/*---
title = "Since the start"
description = "Counted by the sampler, so they outlive the ten minutes that are kept."
chart = { mark = "table" }
span = 2
---*/
WITH newest AS (
    SELECT * FROM machine.main.system QUALIFY time = max(time) OVER ()
)
SELECT unnest([
    {'what': 'Samples', 'total': format('{:,}', number)},
    {'what': 'CPU time', 'total': format('{:,.1f} s', cpu_seconds)},
    {'what': 'Received', 'total': formatReadableDecimalSize(net_recv_total)},
    {'what': 'Sent', 'total': formatReadableDecimalSize(net_sent_total)},
    {'what': 'Read from disk', 'total': formatReadableDecimalSize(disk_read_total)},
    {'what': 'Written to disk', 'total': formatReadableDecimalSize(disk_write_total)}
], recursive => true)
FROM newest
