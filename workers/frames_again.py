"""A frame's bytes once more, from the log that it came from: for what was not kept when it passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.decoding import payload_sha256

if TYPE_CHECKING:
    from storage.verdict_queries import StoredVerdict
    from workers.frame_log import FrameLog
    from workers.wiring import Stores


def kept_again(stores: Stores, verdict: StoredVerdict) -> str | None:
    """Keep the bytes of a verdict's frame; their URI, or None where the log no longer holds them.

    Raises:
        StageUnavailable: The log does not answer.
    """
    if verdict.picture_uri is not None:
        return verdict.picture_uri
    if verdict.log_id == stores.log.log.id:
        return _from(stores.log, stores, verdict)
    if stores.settings.kafka_servers is None:
        return None
    from workers.wiring import kafka_logs

    logs = kafka_logs(stores, on_open=lambda log_id, topic: None)
    try:
        return _from(logs.log(verdict.log_id), stores, verdict)
    finally:
        logs.close()


def _from(log: FrameLog, stores: Stores, verdict: StoredVerdict) -> str | None:
    from workers.evidence import keep_payload

    read = log.read(verdict.partition, verdict.offset, verdict.offset + 1, most_bytes=1)
    for record in read.records:
        if record.payload is not None and payload_sha256(record.payload) == verdict.sha256:
            return keep_payload(record, stores.pictures)
    return None
