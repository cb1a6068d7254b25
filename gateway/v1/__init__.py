"""The wire messages, in a descriptor pool of their own.

Why a private pool: protobuf keeps one default pool per process, and tritonclient, mlserver and kserve
each register ``inference.*`` there under their own file names, so that the second one to be imported
fails. A program may import any one of them beside this package, in either order. It also frees us of
the check that ties ``_pb2`` modules to the protobuf release that generated them.

Messages of two pools do not mix: bytes are what crosses the border.
"""

from __future__ import annotations

from importlib.resources import files

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

__all__ = ["POOL", "enum", "message"]


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    packed = files(__name__).joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(packed).file:  # in dependency order
        pool.AddSerializedFile(file.SerializeToString())
    return pool


POOL = _pool()


def message(name: str) -> type[Message]:
    """The class of the message with the full name ``name``."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


def enum(name: str) -> EnumTypeWrapper:
    """The enum with the full name ``name``."""
    return EnumTypeWrapper(POOL.FindEnumTypeByName(name))
