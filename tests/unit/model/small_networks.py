"""Small networks in files: the power of `samples` samples of sound, float32 [1, samples] -> [1, 1], in ONNX and TensorFlow Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


def write_onnx(path: Path, samples: int) -> Path:
    """Write the ONNX file: square, then mean. The protobuf is written by hand, because `onnx` is not among the packages."""
    axes = _field(1, b"axes") + _field(8, 1) + _field(20, 7)
    nodes = (
        _field(1, b"x") + _field(1, b"x") + _field(2, b"square") + _field(4, b"Mul"),
        _field(1, b"square") + _field(2, b"power") + _field(4, b"ReduceMean") + _field(5, axes),
    )
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"power")
    graph += _field(11, _value_info(b"x", samples)) + _field(12, _value_info(b"power", 1))
    path.write_bytes(_field(1, 8) + _field(8, _field(2, 13)) + _field(7, graph))
    return path


def write_tflite(path: Path, samples: int) -> Path:
    """Write the TensorFlow Lite file: square, then mean."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    buffers = [schema.BufferT() for _ in range(2)]
    buffers[1].data = np.frombuffer(np.array([1], np.int32).tobytes(), np.uint8)
    float32, int32 = schema.TensorType.FLOAT32, schema.TensorType.INT32
    graph.tensors = [
        _tensor("x", [1, samples], float32, 0),
        _tensor("square", [1, samples], float32, 0),
        _tensor("axes", [1], int32, 1),
        _tensor("power", [1, 1], float32, 0),
    ]
    square, mean = schema.OperatorT(), schema.OperatorT()
    square.inputs, square.outputs, square.opcodeIndex = [0], [1], 0
    mean.inputs, mean.outputs, mean.opcodeIndex = [1, 2], [3], 1
    mean.builtinOptionsType, mean.builtinOptions = schema.BuiltinOptions.ReducerOptions, schema.ReducerOptionsT()
    mean.builtinOptions.keepDims = True
    graph.operators, graph.inputs, graph.outputs = [square, mean], [0], [3]
    codes = [schema.BuiltinOperator.SQUARE, schema.BuiltinOperator.MEAN]
    model.version, model.subgraphs, model.buffers = 3, [graph], buffers
    model.operatorCodes = [_operator_code(code) for code in codes]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _operator_code(code: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = code
    made.version = 1
    return made


def _tensor(name: str, shape: list[int], kind: int, buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    return tensor


def _value_info(name: bytes, size: int) -> bytes:
    shape = b"".join(_field(1, _field(1, n)) for n in (1, size))
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _field(number: int, value: bytes | int) -> bytes:
    """Return a field of a protobuf message: a varint, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])
