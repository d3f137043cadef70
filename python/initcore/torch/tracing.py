"""Which activation follows a layer: read off the traced forward pass, else off the order of registration.

`torch.fx` gives the forward pass as a graph of operations. From a layer's output on, what can be computed
from that output alone is tried on a few numbers: where an elementwise function leaves this region, it is the
activation, in whatever pieces it is written. Normalization, dropout, pooling, reshaping and residual sums are
looked through. Where a module cannot be traced, its parts are; what follows a part is then taken from its
neighbours.

1. skeleton(module)     the modules without hooks and wrappers, in evaluation mode; parameters are shared
2. trace(skeleton)      graph, or None
3. _Graph.after(node)   what is met on the way from a layer to the outputs
4. followers(module)    layer -> Following, for all layers of all that could be traced, then for the others
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from .activations import PRELU_SLOPE, PROBE, NotElementwiseError, evaluate, levels_off, of_module, recognize
from .walking import unwrap

if TYPE_CHECKING:
    from initcore.activations import Activation

#: What is looked through: the files that PyTorch has its modules in, functions and methods.
_FILES = """
batchnorm channelshuffle dropout flatten fold instancenorm normalization padding pixelshuffle pooling
upsampling
"""
_FUNCTIONS = """
add iadd sub isub cat concat concatenate stack mean sum amax
alpha_dropout dropout dropout1d dropout2d dropout3d feature_dropout feature_alpha_dropout
batch_norm group_norm instance_norm layer_norm local_response_norm rms_norm normalize
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d boolean_dispatch lp_pool1d lp_pool2d max_pool1d
max_pool2d max_pool3d interpolate pad pixel_shuffle pixel_unshuffle
bfloat16 chunk clone contiguous detach double expand expand_as flatten flip float getitem half movedim narrow
permute repeat repeat_interleave reshape roll select split squeeze swapaxes t tensor_split to transpose type
type_as unbind unflatten unsqueeze view view_as T mT data
"""
_FILES_LOOKED_THROUGH = frozenset(f"torch.nn.modules.{file}" for file in _FILES.split())
_LOOKED_THROUGH = frozenset(_FUNCTIONS.split())
_NO_SIGNAL = frozenset({"device", "dim", "dtype", "ndim", "numel", "shape", "size"})
_PRODUCTS = frozenset({"div", "imul", "mul", "multiply", "truediv"})


@dataclass(frozen=True)
class Following:
    """What follows a layer.

    Attributes
    ----------
    activation : str, Activation or None
        As `initcore.theory.recommend` takes it; None if there is none, or none is known.
    how : str
        "traced", "by order", "by kind" or "not traced".
    reason : str
    """

    activation: str | Activation | None
    how: str
    reason: str


UNKNOWN = Following(None, "not traced", "no activation known")


@dataclass(frozen=True)
class _Finding:
    """What is met on a way from a layer: an activation and where it ends, an output (`open`), or neither."""

    activation: str | Activation | None
    reason: str
    open: bool = False
    end: fx.Node | None = None


def is_layer(module: nn.Module) -> bool:
    """Whether a module has a weight of its own, of two axes or more."""
    return any(
        p is not None and not nn.parameter.is_lazy(p) and p.ndim > 1 for p in module._parameters.values()
    )


def followers(module: nn.Module) -> dict[nn.Module, Following]:
    """Tell for each layer of a module what follows it. Nothing is changed, and no parameter is read."""
    bones: dict[nn.Module, nn.Module] = {}
    body = skeleton(module, bones)
    found: dict[nn.Module, Following] = {}
    for layer in _visit(body, found, root=True):
        found.setdefault(layer, UNKNOWN)
    return {original: found[bone] for original, bone in bones.items() if bone in found}


def skeleton(module: nn.Module, bones: dict[nn.Module, nn.Module]) -> nn.Module:
    """Copy the tree of modules: without wrappers and hooks, in evaluation mode, with the same parameters.

    Attributes that a forward pass might append to are copied too. `bones` collects the copies by original.
    """
    inner = unwrap(module)
    if inner in bones:
        return bones[inner]
    if isinstance(inner, torch.jit.ScriptModule):
        bones[inner] = inner
        return inner
    bone: nn.Module = object.__new__(type(inner))
    bones[inner] = bone
    for name, value in vars(inner).items():
        if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
            bone.__dict__[name] = OrderedDict()
        else:
            simple = isinstance(value, dict | list | set)
            bone.__dict__[name] = copy.copy(value) if simple else value
    bone.__dict__.pop("_compiled_call_impl", None)
    bone.__dict__["training"] = False
    for name, child in inner._modules.items():
        bone._modules[name] = None if child is None else skeleton(child, bones)
    return bone


class _Tracer(fx.Tracer):  # type: ignore[misc, unused-ignore]
    """Records what a module does with its children; what has a weight or is PyTorch's is one operation."""

    proxy_buffer_attributes = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        if isinstance(m, torch.jit.ScriptModule) or _is_of_torch(m):
            return True
        return bool(m._parameters) and not m._modules


def trace(module: nn.Module) -> fx.Graph | None:
    """Record the forward pass of a skeleton; None if that cannot be done."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    arguments = inspect.signature(type(module).forward).parameters.values()
    defaults = {a.name: a.default for a in arguments if a.default is not inspect.Parameter.empty}
    for concrete in (defaults, None):  # with **kwargs, torch.fx refuses to take arguments for given
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _Tracer().trace(module, concrete_args=concrete)
        except Exception:  # noqa: BLE001  (a user's forward may raise anything at all)
            continue
    return None


def _visit(module: nn.Module, found: dict[nn.Module, Following], *, root: bool = False) -> list[nn.Module]:
    """Find what follows the layers of a skeleton; give those that nothing in it follows."""
    if not any(is_layer(m) and m not in found for m in module.modules()):
        return []
    if not module._modules:
        return [module]
    graph = None if _is_of_torch(module) else trace(module)
    if graph is None:
        _by_order(module, found)
        return []
    opened = _Graph(module, graph).read(found, root=root)
    for part in module.modules():
        if _is_of_torch(part) and part._modules:
            _by_order(part, found)
    for layer in filter(is_layer, module.modules()):
        if layer not in opened:
            found.setdefault(layer, Following(None, "traced", "the traced forward pass does not use it"))
    return opened


def _by_order(module: nn.Module, found: dict[nn.Module, Following]) -> None:
    """Find what follows the layers of children, from the children registered after them."""
    if isinstance(module, nn.MultiheadAttention) and module in found:
        found.setdefault(module.out_proj, found[module])
    if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
        _transformer_layer(module, found)
    # The order says little of a part that cannot be traced itself: attention, activation, fc1, fc2 is common.
    children = [(name, child) for name, child in module._modules.items() if child is not None]
    opened = [_visit(child, found) for _, child in children]
    ends = [i for i, (_, child) in enumerate(children) if _has_layer(child)]
    for i, layers in enumerate(opened):
        following = _neighbour(children, i, ends)
        for layer in layers:
            found.setdefault(layer, following)


def _transformer_layer(module: Any, found: dict[nn.Module, Following]) -> None:
    """Enter what follows the layers of PyTorch's transformer layers, which are known and cannot be traced."""
    kind = type(module).__name__
    with suppress(NotElementwiseError):
        f = recognize(module.activation, getattr(module.activation, "__name__", "activation"))
        found.setdefault(module.linear1, Following(f, "by kind", f"{_name(f)} of {kind}"))
    attentions = [part for part in module.children() if isinstance(part, nn.MultiheadAttention)]
    for layer in (module.linear2, *(attention.out_proj for attention in attentions)):
        found.setdefault(layer, Following(None, "by kind", f"a residual sum of {kind} follows"))


def _neighbour(children: list[tuple[str, nn.Module]], i: int, ends: list[int]) -> Following:
    """Read what follows child `i` off the children after it, where those with layers are `ends`."""
    for j in range(i + 1, len(children)):
        name, child = children[j]
        activation = of_module(child)
        if activation is not None:
            before = [k for k in ends if k < j]
            if len(before) > 1 and not any(k > j for k in ends) and not _separated(children, before):
                why = f"{name} may follow any of several layers: no activation known"
                return Following(None, "not traced", why)
            return Following(activation, "by order", f"{name} ({_name(activation)}) is registered after it")
        if j in ends:
            break
    return UNKNOWN


def _separated(children: list[tuple[str, nn.Module]], ends: list[int]) -> bool:
    """Whether there is an activation between the last two of some children."""
    return any(of_module(child) is not None for _, child in children[ends[-2] + 1 : ends[-1]])


class _Graph:
    """A traced forward pass, with the question what follows a layer."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self.module = module
        self.nodes = list(graph.nodes)
        self.order = {node: i for i, node in enumerate(self.nodes)}

    def read(self, found: dict[nn.Module, Following], *, root: bool) -> list[nn.Module]:
        """Enter what follows each layer into `found`; give the layers that nothing follows in a part."""
        met: dict[nn.Module, list[_Finding]] = {}
        for node in self.nodes:
            if node.op == "call_module" and _has_layer(layer := self._module(node)):
                met.setdefault(layer, []).extend(self.after(node))
        opened = []
        for layer, findings in met.items():
            active = [f for f in findings if f.activation is not None]
            if root and active and all(map(self._makes_output, active)):
                why = f"{active[0].reason}, which makes the output"
                found.setdefault(layer, Following(None, "traced", why))
            elif active:
                names = list(dict.fromkeys(_name(f.activation) for f in active))
                also = f" ({', '.join(names[1:])} on another way)" if len(names) > 1 else ""
                found.setdefault(layer, Following(active[0].activation, "traced", active[0].reason + also))
            elif not root and any(f.open for f in findings):
                opened.append(layer)
            else:
                shut = [f for f in findings if not f.open] or findings
                why = shut[0].reason if shut else "nothing uses its output"
                found.setdefault(layer, Following(None, "traced", why))
        return [layer for layer in opened if not layer._modules]

    def after(self, node: fx.Node) -> list[_Finding]:
        """Give what is met on the ways from the output of a node, up to the first activation."""
        findings: list[_Finding] = []
        seen, ahead = {node}, [node]
        while ahead and not any(f.activation for f in findings):
            start = min(ahead, key=self.order.__getitem__)
            ahead.remove(start)
            region = self._region(start)
            for exit_ in sorted(region, key=self.order.__getitem__):
                leaving = [user for user in exit_.users if user not in region]
                if not leaving:
                    continue
                try:
                    activation = "linear" if exit_ is start else self._function(start, exit_)
                except NotElementwiseError:
                    findings.append(_Finding(None, f"{_operation(self.module, exit_)} follows"))
                    continue
                if activation != "linear":
                    findings.append(_Finding(activation, f"{_name(activation)} follows", end=exit_))
                    continue
                for user in leaving:
                    met = self._enter(user, exit_)
                    if met is not None:
                        findings.append(met)
                    elif user not in seen and _operation(self.module, user) not in _NO_SIGNAL:
                        seen.add(user)
                        ahead.append(user)
        return findings

    def _enter(self, user: fx.Node, source: fx.Node) -> _Finding | None:
        """Give what is met at a user that is not elementwise in `source` alone; None to look through it."""
        name = _operation(self.module, user)
        if user.op == "output":
            return _Finding(None, "an output: nothing follows", open=True)
        if user.op == "call_module":
            target = self._module(user)
            if _has_layer(target):
                return _Finding(None, f"{user.target} follows, without an activation")
            through = any(base.__module__ in _FILES_LOOKED_THROUGH for base in type(target).__mro__)
            if through or target._parameters or not _is_of_torch(target):
                return None
        elif name in _PRODUCTS:
            if not all(n is source or n.op == "get_attr" for n in user.all_input_nodes):
                return _Finding(None, "multiplied by another signal")
            return None
        elif name in _LOOKED_THROUGH or name in _NO_SIGNAL:
            return None
        return _Finding(None, f"{name} follows")

    def _makes_output(self, finding: _Finding) -> bool:
        """Whether an activation is bounded and nothing but outputs follow it."""
        if finding.activation is None or finding.end is None or not levels_off(finding.activation):
            return False
        return all(f.open for f in self.after(finding.end))

    def _region(self, start: fx.Node) -> dict[fx.Node, torch.Tensor]:
        """Compute what depends on a node alone and keeps the shape, from `PROBE` in its place."""
        values: dict[fx.Node, torch.Tensor] = {start: torch.tensor(PROBE, device="cpu")}
        frontier = list(start.users)
        while frontier:
            node = min(frontier, key=self.order.__getitem__)
            frontier = [n for n in frontier if n is not node]
            if node not in values and all(n in values for n in node.all_input_nodes):
                value = self._compute(node, values)
                if value is not None and value.shape == PROBE.shape:
                    values[node] = value
                    frontier += node.users
        return values

    def _compute(self, node: fx.Node, values: dict[fx.Node, torch.Tensor]) -> torch.Tensor | None:
        """Compute one node of numbers for its inputs; None if that fails or makes no sense."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: values[n].clone())
        name = _operation(self.module, node)
        if "dropout" in name:  # a function with training=True, its default
            return values[node.all_input_nodes[0]]
        if node.op == "call_function" and name not in _NO_SIGNAL:
            return evaluate(node.target, *args, **kwargs)
        if node.op == "call_method":
            return evaluate(lambda x, *a, **k: getattr(x, node.target)(*a, **k), *args, **kwargs)
        if node.op == "call_module":
            target = self._module(node)
            if isinstance(target, nn.PReLU):
                return evaluate(nn.functional.leaky_relu, *args, PRELU_SLOPE)
            if not target._parameters and not target._buffers and not target._modules:
                return evaluate(target, *args, **kwargs)
        return None

    def _function(self, start: fx.Node, end: fx.Node) -> str | Activation:
        """Recognize the function from one node to another."""
        needed, ahead = {start}, [end]
        while ahead:
            node = ahead.pop()
            if node not in needed:
                needed.add(node)
                ahead += node.all_input_nodes
        path = sorted(needed - {start}, key=self.order.__getitem__)

        def function(x: torch.Tensor) -> torch.Tensor:
            values = {start: x}
            for node in path:
                value = self._compute(node, values)
                if value is None:
                    raise NotElementwiseError(node.name)
                values[node] = value
            return values[end]

        return recognize(
            function, " then ".join(dict.fromkeys(_operation(self.module, node) for node in path))
        )

    def _module(self, node: fx.Node) -> nn.Module:
        return self.module.get_submodule(str(node.target))


def _has_layer(module: nn.Module) -> bool:
    return any(map(is_layer, module.modules()))


def _is_of_torch(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's own, or made from one, and not just a container of others."""
    return any(
        base.__module__.startswith(("torch.nn.", "torch.ao.nn."))
        and base.__module__ not in {"torch.nn.modules.module", "torch.nn.modules.container"}
        for base in type(module).__mro__
    )


def _operation(module: nn.Module, node: fx.Node) -> str:
    """Name what a node does."""
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))).__name__
    if node.target is getattr:
        return str(node.args[1])
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _name(activation: str | Activation | None) -> str:
    return activation if isinstance(activation, str) else getattr(activation, "name", "")
