-- One row per (ip, app) and instant at which a window over its clicks changes: a click at c counts at t while
-- c < t <= c + w, so it enters at c + 1 µs and leaves at c + w + 1 µs. Every such instant is written.
-- $start, $stop: the day, µs, stop excluded; $horizon: the last instant that the log knows.
WITH near AS (
    SELECT ip, app, click_us FROM clicks WHERE click_us >= $start - {hour} * 24 - 1
),
changes AS (
    SELECT ip, app, click_us + 1 AS t, 1 AS c1, 1 AS c24, click_us FROM near
    UNION ALL SELECT ip, app, click_us + 1 + {hour}, -1, 0, NULL FROM near
    UNION ALL SELECT ip, app, click_us + 1 + {hour} * 24, 0, -1, NULL FROM near
),
instants AS (
    SELECT ip, app, t, sum(c1)::BIGINT AS c1, sum(c24)::BIGINT AS c24, max(click_us) AS click_us
    FROM changes
    WHERE t < $stop AND t <= $horizon
    GROUP BY ip, app, t
),
states AS (
    SELECT ip, app, t, sum(c1) OVER so_far AS c1, sum(c24) OVER so_far AS c24, max(click_us) OVER so_far AS last_us
    FROM instants
    WINDOW so_far AS (PARTITION BY ip, app ORDER BY t ROWS UNBOUNDED PRECEDING)
)
SELECT ip,
       app,
       make_timestamp(t)::TIMESTAMPTZ AS event_timestamp,
       c1::BIGINT AS clicks_1h_by_ip_app,
       c24::BIGINT AS clicks_24h_by_ip_app,
       CASE WHEN c24 > 0 THEN make_timestamp(last_us)::TIMESTAMPTZ END AS last_click_time_by_ip_app
FROM states
WHERE t >= $start
ORDER BY event_timestamp, ip, app
