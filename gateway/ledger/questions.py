"""Questions that auditors and operators ask, by name; each is plain SQL over the views.

``records`` is everything, ``calls`` all calls, metadata and repository ones too, ``predictions`` those that asked a
model for an inference.

Parameters: ``$model``, ``$version``, ``$digest``, ``$since_us`` and ``$until_us`` (receipt time, since <= t < until).
"""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """What it answers, and how. ``needs`` are the options that it cannot do without."""

    about: str
    sql: str
    needs: tuple[str, ...] = ()


QUESTIONS = {
    "version": Question(
        "who used which model version, when, with what decision and outcome",
        """SELECT tenant, principal, model, version, decision, outcome, code, count(*) AS calls,
        min(time) AS first_utc, max(time) AS last_utc FROM predictions
        WHERE ($model = '' OR model = $model) AND ($version = '' OR version = $version)
        AND t_us >= $since_us AND t_us < $until_us
        GROUP BY ALL ORDER BY calls DESC, tenant, principal""",
    ),
    "denials": Question(
        "denied calls by reason",
        """SELECT tenant, principal, model, why, count(*) AS calls, max(time) AS last_utc
        FROM (SELECT *, unnest(reasons) AS why FROM calls) WHERE outcome = 'denied'
        AND t_us >= $since_us AND t_us < $until_us GROUP BY ALL ORDER BY calls DESC""",
    ),
    "rates": Question(
        "calls, denials and errors by tenant",
        """SELECT tenant, count(*) AS calls, round(avg((outcome = 'denied')::INT), 4) AS denied,
        round(avg((outcome = 'failed')::INT), 4) AS failed, quantile_disc(dur_us, 0.99) AS p99_us
        FROM calls
        WHERE t_us >= $since_us AND t_us < $until_us GROUP BY tenant ORDER BY calls DESC""",
    ),
    "policy": Question(
        "predictions under one policy digest",
        """SELECT prediction_id, time, tenant, principal, model, version, decision, outcome FROM predictions
        WHERE starts_with(policy_sha, $digest)
        AND t_us >= $since_us AND t_us < $until_us ORDER BY t_us""",
        ("digest",),
    ),
    "recall": Question(
        "every answered prediction of a withdrawn version",
        """SELECT prediction_id, time, tenant, principal, model_sha, req FROM predictions
        WHERE model = $model AND version = $version AND outcome = 'answered'
        AND t_us >= $since_us AND t_us < $until_us ORDER BY t_us""",
        ("model", "version"),
    ),
    "usage": Question(
        "predictions and rows by tenant, principal and model, for billing: the figures of `gateway usage`",
        """SELECT tenant, principal, model, version, count(*) AS requests,
        count(*) FILTER (outcome IN ('denied', 'unauthenticated')) AS denied,
        count(*) FILTER (outcome NOT IN ('answered', 'denied', 'unauthenticated')) AS failed,
        coalesce(sum(rows) FILTER (outcome = 'answered'), 0)::BIGINT AS rows,
        coalesce(sum(in_b) FILTER (outcome = 'answered'), 0)::BIGINT AS in_bytes,
        coalesce(sum(out_b) FILTER (outcome = 'answered'), 0)::BIGINT AS out_bytes
        FROM predictions WHERE t_us >= $since_us AND t_us < $until_us
        GROUP BY ALL ORDER BY tenant, principal, model, version""",
    ),
    "erasures": Question(
        "what was erased, by whom and on what ground",
        """SELECT shard || '/' || seq AS id, make_timestamp(t_us) AS time, actor, reason, fields->>'what' AS what,
        (fields->>'count')::BIGINT AS records, fields->>'records' AS ranges FROM records
        WHERE kind = 'erase'
        AND t_us >= $since_us AND t_us < $until_us ORDER BY t_us""",
    ),
    "completeness": Question(
        "records that are missing between others; the missing tail shows only against a signed head",
        """SELECT shard, seq + 1 AS from_seq, following - seq - 1 AS missing FROM
        (SELECT shard, seq, lead(seq) OVER (PARTITION BY shard ORDER BY seq) AS following FROM records)
        WHERE following > seq + 1""",
    ),
}
