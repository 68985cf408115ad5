-- One row per ip and instant at which a window over its clicks changes: a click at c counts at t while c < t <= c + w,
-- so it enters at c + 1 µs and leaves at c + w + 1 µs. Every such instant is written, also where two changes cancel out.
-- $start, $stop: the day, µs, stop excluded; $horizon: the last instant that the log knows.
WITH ranked AS (
    SELECT ip, app, click_us,
           row_number() OVER by_time AS place,
           list('a' || app) OVER (by_time ROWS BETWEEN {recent} - 1 PRECEDING AND CURRENT ROW) AS apps,
           click_us - lag(click_us) OVER by_app AS since_same_app,
           lead(click_us) OVER by_app - click_us AS until_same_app
    FROM clicks
    WHERE click_us >= $start - {hour} * 24 - 1
    WINDOW by_time AS (PARTITION BY ip ORDER BY click_us, app, channel, os, device),
           by_app AS (PARTITION BY ip, app ORDER BY click_us)
),
changes AS (
    -- An app is present from its first click until 24 h after the last one that has no successor within 24 h.
    SELECT ip, click_us + 1 AS t, 1 AS clicks, 1 AS c1, 1 AS c6, 1 AS c24,
           CASE WHEN since_same_app <= {hour} * 24 THEN 0 ELSE 1 END AS apps
    FROM ranked
    UNION ALL SELECT ip, click_us + 1 + {hour}, 0, -1, 0, 0, 0 FROM ranked
    UNION ALL SELECT ip, click_us + 1 + {hour} * 6, 0, 0, -1, 0, 0 FROM ranked
    UNION ALL SELECT ip, click_us + 1 + {hour} * 24, 0, 0, 0, -1,
                     CASE WHEN until_same_app <= {hour} * 24 THEN 0 ELSE -1 END
    FROM ranked
),
instants AS (
    SELECT ip, t, sum(clicks)::BIGINT AS clicks, sum(c1)::BIGINT AS c1, sum(c6)::BIGINT AS c6,
           sum(c24)::BIGINT AS c24, sum(apps)::BIGINT AS apps
    FROM changes
    WHERE t < $stop AND t <= $horizon
    GROUP BY ip, t
),
states AS (
    SELECT ip, t, (sum(clicks) OVER so_far)::BIGINT AS place, sum(c1) OVER so_far AS c1, sum(c6) OVER so_far AS c6,
           sum(c24) OVER so_far AS c24, sum(apps) OVER so_far AS apps
    FROM instants
    WINDOW so_far AS (PARTITION BY ip ORDER BY t ROWS UNBOUNDED PRECEDING)
)
SELECT states.ip AS ip,
       make_timestamp(t)::TIMESTAMPTZ AS event_timestamp,
       c1::BIGINT AS clicks_1h_by_ip,
       c6::BIGINT AS clicks_6h_by_ip,
       c24::BIGINT AS clicks_24h_by_ip,
       states.apps::BIGINT AS distinct_apps_24h_by_ip,
       CASE WHEN c24 > 0 THEN make_timestamp(ranked.click_us)::TIMESTAMPTZ END AS last_click_time_by_ip,
       CASE WHEN c24 > 0 THEN
           array_to_string(ranked.apps[-least(c24, {recent})::BIGINT:], ' ')
       END AS recent_apps_by_ip
FROM states JOIN ranked ON ranked.ip = states.ip AND ranked.place = states.place
WHERE t >= $start
ORDER BY event_timestamp, ip
