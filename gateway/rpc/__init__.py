"""The wire protocol: protobuf in, values out, and back. The only package that touches protobuf."""
