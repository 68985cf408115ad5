-- One row per {key} and tick while it has a click in [tick - 72 h, tick), and one last row at the first tick without.
-- Ticks are numbered from the epoch and every window is a whole number of ticks, so a click belongs to the windows of
-- the ticks from `enters` on, up to but not including `enters` + the window's width, and counts are exact integers.
-- A click's label is known once it is older than {mature} ticks or its install has happened, whichever is first.
-- $start, $stop: the day, µs, stop excluded; $horizon: the last instant that the log knows.
WITH near AS (
    SELECT {key} AS key, click_us // {tick} + 1 AS enters, attributed_us // {tick} + 1 AS installed, count(*) AS n
    FROM clicks
    WHERE click_us >= $start - {tick}::BIGINT * (432 + 1) -- the widest window, seen from the tick before the day
    GROUP BY ALL
),
windowed AS (
    SELECT key, width, n, enters, enters + width AS leaves, installed,
           CASE WHEN installed < enters + {mature} THEN installed ELSE enters + {mature} END AS known
    FROM near CROSS JOIN (VALUES (6), (36), (144), (432)) AS windows(width)
),
changes AS (
    SELECT key, width, enters AS tick, n AS clicks, 0 AS known, 0 AS installs FROM windowed
    UNION ALL SELECT key, width, known, 0, n, 0 FROM windowed WHERE known < leaves
    UNION ALL SELECT key, width, installed, 0, 0, n FROM windowed WHERE installed < leaves
    UNION ALL SELECT key, width, leaves, -n, CASE WHEN known < leaves THEN -n ELSE 0 END,
                     CASE WHEN installed < leaves THEN -n ELSE 0 END
    FROM windowed
),
instants AS ( -- what changed before the grid begins is its first tick's
    SELECT key, greatest(tick, $start // {tick} - 1) AS tick,
           sum(clicks) FILTER (width = 6) AS c1, sum(clicks) FILTER (width = 36) AS c6,
           sum(clicks) FILTER (width = 144) AS c24, sum(clicks) FILTER (width = 432) AS c72,
           sum(known) FILTER (width = 144) AS known24, sum(known) FILTER (width = 432) AS known72,
           sum(installs) FILTER (width = 144) AS installs24, sum(installs) FILTER (width = 432) AS installs72
    FROM changes
    GROUP BY ALL
),
grid AS (
    SELECT key, tick
    FROM (SELECT DISTINCT key FROM near) CROSS JOIN range($start // {tick} - 1, $stop // {tick}) AS ticks(tick)
),
states AS (
    SELECT key, tick, coalesce(sum(c1) OVER so_far, 0)::BIGINT AS c1, coalesce(sum(c6) OVER so_far, 0)::BIGINT AS c6,
           coalesce(sum(c24) OVER so_far, 0)::BIGINT AS c24, coalesce(sum(c72) OVER so_far, 0)::BIGINT AS c72,
           sum(known24) OVER so_far AS known24, sum(installs24) OVER so_far AS installs24,
           sum(known72) OVER so_far AS known72, sum(installs72) OVER so_far AS installs72
    FROM grid LEFT JOIN instants USING (key, tick)
    WINDOW so_far AS (PARTITION BY key ORDER BY tick ROWS UNBOUNDED PRECEDING)
),
everyone AS ( -- the rate of all keys in the same window; from exact integers
    SELECT tick, sum(installs24)::DOUBLE / sum(known24)::DOUBLE AS rate24,
           sum(installs72)::DOUBLE / sum(known72)::DOUBLE AS rate72
    FROM states
    GROUP BY tick
),
alive AS (
    SELECT *, lag(c72) OVER (PARTITION BY key ORDER BY tick) AS c72_before FROM states JOIN everyone USING (tick)
)
SELECT key AS {key},
       make_timestamp(tick * {tick})::TIMESTAMPTZ AS event_timestamp,
       c1 AS clicks_1h_by_{key},
       c6 AS clicks_6h_by_{key},
       c24 AS clicks_24h_by_{key},
       CASE WHEN known24 > 0 THEN
           (installs24::DOUBLE + {prior}::DOUBLE * rate24) / (known24::DOUBLE + {prior}::DOUBLE)
       END AS install_rate_24h_by_{key},
       CASE WHEN known72 > 0 THEN
           (installs72::DOUBLE + {prior}::DOUBLE * rate72) / (known72::DOUBLE + {prior}::DOUBLE)
       END AS install_rate_72h_by_{key}
FROM alive
WHERE tick * {tick} >= $start AND tick * {tick} <= $horizon AND (c72 > 0 OR c72_before > 0)
ORDER BY event_timestamp, key
