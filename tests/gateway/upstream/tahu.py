"""Sparkplug payloads read by Google's protobuf: the schema is written here a second time, by the numbers of chapter 6.4 of
the specification, and shares nothing with the gateway's own encoder."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet

F = descriptor_pb2.FieldDescriptorProto
NUMBERS = {
    "uint32": F.TYPE_UINT32, "uint64": F.TYPE_UINT64, "string": F.TYPE_STRING, "bool": F.TYPE_BOOL,
    "float": F.TYPE_FLOAT, "double": F.TYPE_DOUBLE, "bytes": F.TYPE_BYTES,
}  # fmt: skip
MESSAGES = {
    "Payload": "1 uint64 timestamp, 2 *Metric metrics, 3 uint64 seq, 4 string uuid, 5 bytes body",
    "Metric": "1 string name, 2 uint64 alias, 3 uint64 timestamp, 4 uint32 datatype, 5 bool is_historical, "
    "6 bool is_transient, 7 bool is_null, 9 PropertySet properties, 10 uint32 int_value, 11 uint64 long_value, "
    "12 float float_value, 13 double double_value, 14 bool boolean_value, 15 string string_value",
    "PropertySet": "1 *string keys, 2 *PropertyValue values",
    "PropertyValue": "1 uint32 type, 2 bool is_null, 3 uint32 int_value, 4 uint64 long_value, 5 float float_value, "
    "6 double double_value, 7 bool boolean_value, 8 string string_value",
}


def _schema() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="test", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields.split(", "):
            number, kind, field = line.split()
            label = F.LABEL_REPEATED if kind.startswith("*") else F.LABEL_OPTIONAL
            kind = kind.lstrip("*")
            if kind in NUMBERS:
                message.field.add(name=field, number=int(number), type=NUMBERS[kind], label=label)
            else:
                message.field.add(
                    name=field, number=int(number), type=F.TYPE_MESSAGE, type_name=f".test.{kind}", label=label
                )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Payload"))


Payload = _schema()


def read(data: bytes) -> Any:
    """The message; raises DecodeError for what is none, and AssertionError for fields that the specification has not."""
    message = Payload()
    message.ParseFromString(data)
    assert len(UnknownFieldSet(message)) == 0
    assert all(len(UnknownFieldSet(metric)) == 0 for metric in message.metrics)
    return message


VALUES = ("int_value", "long_value", "float_value", "double_value", "boolean_value", "string_value")


def value(metric: Any) -> Any:
    """None where it is null."""
    found = [name for name in VALUES if metric.HasField(name)]
    assert len(found) == (not metric.is_null), (found, metric)
    return None if metric.is_null else getattr(metric, found[0])


def properties(metric: Any) -> dict[str, Any]:
    """By name, as (type, value)."""
    keys, values = list(metric.properties.keys), list(metric.properties.values)
    assert len(keys) == len(values)
    return {
        key: (it.type, it.string_value if it.HasField("string_value") else it.int_value)
        for key, it in zip(keys, values, strict=True)
    }
