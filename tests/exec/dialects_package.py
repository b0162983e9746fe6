#!/usr/bin/env python3
"""The checkpoints of dialects.py, rotated by the package compressed-tensors: its sizes, matrices and products.

    dialects_package.py LATHE PACKAGE

Only the two modules of the package that make and apply matrices are loaded: all of it wants transformers.
"""
import enum
import importlib.util
import os
import sys
import tempfile
import types

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dialects  # noqa: E402


class Location(str, enum.Enum):
    INPUT = "input"
    WEIGHT_INPUT = "weight_input"
    WEIGHT_OUTPUT = "weight_output"
    OUTPUT = "output"
    K_CACHE = "k_cache"
    Q_ATTN = "q_attn"

    def is_online(self):
        return self not in (Location.WEIGHT_INPUT, Location.WEIGHT_OUTPUT)


def load(package, name):
    path = os.path.join(package, "compressed_tensors", "transform", "utils", name + ".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Package(dialects.CompressedTensors):
    hadamard = products = None
    generator = torch.Generator()

    def matrix(self, name, group, n):
        if (name, n) not in self.matrices:
            kind, double = group["type"], torch.float64
            if kind == "hadamard":
                m = self.hadamard.deterministic_hadamard_matrix(n, double)
            elif kind == "random-hadamard":
                m = self.hadamard.random_hadamard_matrix(n, double, gen=self.generator)
            else:
                m = torch.rand((n, n), generator=self.generator, dtype=double)
            order = group.get("randomize") and kind != "random-matrix"
            perm = torch.randperm(n, generator=self.generator).tolist() if order else None
            self.matrices[name, n] = m.tolist(), perm, None
        return self.matrices[name, n]

    def apply_module(self, name, group, entry, module, kind):
        location, inverted = Location(entry["location"]), entry.get("inverse", False)
        random_matrix = group["type"] == "random-matrix"
        layer, w = torch.nn.Identity(), None
        if kind != "LlamaAttention":
            w = torch.tensor(self.net.get(module + ".weight"), dtype=torch.float64)
            layer = torch.nn.Embedding(*w.shape) if kind == "Embedding" else torch.nn.Linear(*reversed(w.shape), bias=False)
        n = self.products.get_transform_size(layer, location, group.get("head_dim"))
        stored, perm, _ = self.matrix(name, group, n)
        m = torch.tensor(stored, dtype=torch.float64)
        if random_matrix and inverted:
            m = torch.linalg.inv(m)
        if location.is_online():
            self.store(name, location.value, module, n, m.tolist() if random_matrix and inverted else stored, perm)
            return
        if perm:
            m = m[perm][:, perm]
        if inverted and not random_matrix:
            m = m.T

        def applied(value):
            out = self.products.apply_transform_weight(m, value, location, type(layer))
            return out if random_matrix else out / n ** 0.5
        self.net.set(module + ".weight", applied(w).tolist())
        if location == Location.WEIGHT_OUTPUT and self.net.has(module + ".bias"):
            bias = torch.tensor(self.net.get(module + ".bias")[0], dtype=torch.float64)
            self.net.set(module + ".bias", [applied(bias.unsqueeze(-1)).squeeze(-1).tolist()])


def main():
    lathe, package = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    transform = types.ModuleType("compressed_tensors.transform")
    transform.TransformLocation = Location
    sys.modules["compressed_tensors"] = types.ModuleType("compressed_tensors")
    sys.modules["compressed_tensors.transform"] = transform
    Package.hadamard, Package.products = load(package, "hadamard"), load(package, "matrix")
    Package.generator.manual_seed(5)
    dialects.CompressedTensors = Package
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        dialects.compressed(lathe)
        os.chdir("/")


if __name__ == "__main__":
    main()
