"""librdkafka's mock cluster, which the confluent-kafka wheel brings, called by ctypes.

kafka-python talks to it with ``api_version=(2, 3, 0)`` only: the cluster knows no newer ApiVersions request.
"""

import ctypes
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PRODUCER = 0
_POINTER, _TEXT, _INT32 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_new": (_POINTER, [ctypes.c_int, _POINTER, _TEXT, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [_POINTER, _TEXT, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_partition_delete_records": (ctypes.c_int, [_POINTER, _TEXT, _INT32, ctypes.c_int64]),
}


class MockCluster:
    """A cluster of one broker in this process, for as long as the context lasts."""

    def __enter__(self) -> Self:
        self._library = _library()
        why = ctypes.create_string_buffer(512)
        self._handle = self._library.rd_kafka_new(_PRODUCER, None, why, len(why))
        assert self._handle, why.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, 1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)

    @property
    def servers(self) -> str:
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, name: str, partitions: int) -> None:
        error = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        assert error == 0, f"topic {name}: error {error}"

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        error = self._library.rd_kafka_mock_partition_delete_records(
            self._cluster, topic.encode(), partition, before
        )
        assert error == 0, f"{topic}[{partition}]: error {error}"


def _library() -> ctypes.CDLL:
    import confluent_kafka

    packages = Path(confluent_kafka.__file__).parents[1]
    (file,) = (packages / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(file))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
