"""What "auto" finds after each layer, what it makes of it, and that networks so begun keep their signals."""

import copy
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import initcore as ic

it = ic.torch

ACTIVATIONS = {
    "relu": [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        torch.relu,
        F.relu,
        lambda x: x.relu_(),
        lambda x: x.clamp(min=0),
    ],
    "leaky_relu(0.2)": [nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), lambda x: torch.max(x, 0.2 * x)],
    "leaky_relu": [nn.LeakyReLU(), F.leaky_relu],
    "leaky_relu(0.25)": [nn.PReLU(), nn.PReLU(16)],
    "elu": [nn.ELU(), F.elu, F.elu_],
    "elu(0.5)": [nn.ELU(0.5), nn.CELU(0.5), lambda x: F.elu(x, 0.5)][::2],
    "selu": [nn.SELU(), F.selu],
    "gelu": [nn.GELU(), F.gelu, lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))],
    "gelu_tanh": [
        nn.GELU("tanh"),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + torch.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
        lambda x: x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x))),
    ],
    "silu": [nn.SiLU(), F.silu, lambda x: x * torch.sigmoid(x), lambda x: x.sigmoid() * x],
    "tanh": [nn.Tanh(), torch.tanh, lambda x: x.tanh_(), lambda x: 2 * torch.sigmoid(2 * x) - 1],
    "sigmoid": [nn.Sigmoid(), torch.sigmoid, lambda x: 1 / (1 + torch.exp(-x))],
    "softplus": [nn.Softplus(), F.softplus],
    "softsign": [nn.Softsign(), F.softsign, lambda x: x / (1 + x.abs())],
    "mish": [nn.Mish(), lambda x: x * torch.tanh(F.softplus(x))],
    "hard_tanh": [nn.Hardtanh(), F.hardtanh, lambda x: x.clamp(-1, 1)],
}
BUILT_IN = [(name, i) for name, forms in ACTIVATIONS.items() for i in range(len(forms))]

OTHER = {
    "ReLU6": (nn.ReLU6(), F.relu6),
    "Hardswish": (nn.Hardswish(), F.hardswish),
    "CELU": (nn.CELU(0.5), lambda x: F.celu(x, 0.5)),
    "mul then add then gelu": (lambda x: F.gelu(2 * x + 1), lambda x: F.gelu(2 * x + 1)),
    "gelu then add": (lambda x: x + F.gelu(x), lambda x: x + F.gelu(x)),
    "relu then pow": (lambda x: torch.relu(x) ** 2, lambda x: torch.relu(x) ** 2),
    "mul then sigmoid": (
        lambda x: x * torch.sigmoid(1.702 * x),
        lambda x: x * torch.sigmoid(1.702 * x),
    ),
}


class Net(nn.Module):
    """Two layers with anything between them."""

    def __init__(self, between):
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.between = between
        self.second = nn.Linear(16, 4)

    def forward(self, x):
        return self.second(self.between(self.first(x)))


def row(module, name, **options):
    return it.plan(module, **options).parameters[name]


def found(module, name):
    r = row(module, name)
    return r.activation, r.how


def scheme_of(name, activation):
    return name.plan.init == ic.get(ic.theory.recommend(activation).scheme)


@pytest.mark.parametrize(("name", "i"), BUILT_IN)
def test_an_activation_is_recognized_however_it_is_written(name, i):
    r = row(Net(ACTIVATIONS[name][i]), "first.weight")
    assert (r.activation, r.how) == (name, "traced")
    assert scheme_of(r, name)


@pytest.mark.parametrize("name", OTHER)
def test_any_other_elementwise_function_goes_to_the_theory_as_it_is(name):
    between, function = OTHER[name]
    r = row(Net(between), "first.weight")
    assert r.activation == name
    assert scheme_of(r, function)
    assert r.plan.init.get_config()["scale"] == pytest.approx(ic.gain(function) ** 2, rel=1e-5)


@pytest.mark.parametrize(
    "between",
    [
        nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.1), nn.GELU()),
        nn.Sequential(nn.Identity(), nn.BatchNorm1d(16), nn.GELU(), nn.Dropout(0.5)),
        nn.Sequential(nn.Unflatten(1, (4, 4)), nn.MaxPool1d(1), nn.Flatten(), nn.GELU()),
        nn.Sequential(
            nn.Unflatten(1, (4, 2, 2)), nn.AdaptiveAvgPool2d(2), nn.PixelShuffle(2), nn.GELU(), nn.Flatten()
        ),
        lambda x: F.gelu(F.dropout(F.layer_norm(x, (16,)), 0.1)),
        lambda x: F.gelu(x.view(x.size(0), -1).transpose(0, 1).contiguous().T),
        lambda x: F.gelu(F.max_pool2d(F.interpolate(x.reshape(-1, 1, 4, 4), scale_factor=2.0), 2)).flatten(1),
        lambda x: F.gelu(torch.cat([x, x[:, :2]], 1).unsqueeze(1).squeeze(1))[:, :16],
        lambda x: F.gelu(x + x.mean(0)),
        lambda x: (F.gelu(x), x)[0],
        lambda x: F.gelu(x.chunk(2, -1)[0].repeat(1, 2)),
    ],
)
def test_what_does_not_bend_is_looked_through(between):
    net = Net(between)
    assert net(torch.randn(16, 8)).shape == (16, 4)  # it is a network
    assert found(net, "first.weight") == ("gelu", "traced")


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (nn.Identity(), "second follows, without an activation"),
        (lambda x: x * 2, "second follows, without an activation"),
        (nn.Softmax(-1), "Softmax follows"),
        (torch.msort, "msort follows"),
        (lambda x: x.softmax(-1), "softmax follows"),
        (lambda x: x * x.mean(-1, keepdim=True), "multiplied by another signal"),
        (
            lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None])[0],
            "scaled_dot_product_attention follows",
        ),
        (lambda x: x @ x.T @ x, "matmul follows"),
    ],
)
def test_where_nothing_bends_there_is_no_gain(between, reason):
    r = row(Net(between), "first.weight")
    assert (r.activation, r.how, r.reason) == ("", "traced", reason)
    assert r.plan.init == ic.get("lecun_normal")


def test_an_activation_that_no_weights_make_up_for_is_said_to_be_one():
    r = row(Net(lambda x: torch.exp(x * x)), "first.weight")
    assert r.activation == ""
    assert "for which there is no scheme" in r.reason


class Residual(nn.Module):
    def __init__(self, n=8, groups=1):
        super().__init__()
        self.conv1 = nn.Conv2d(n, n, 3, padding=1, groups=groups, bias=False)
        self.bn1 = nn.BatchNorm2d(n)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n, n, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n)

    def forward(self, x):
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class SwiGLU(nn.Module):
    def __init__(self, n=16, hidden=32):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(n, hidden, bias=False), nn.Linear(n, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, n, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x, scale=None):
        y = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return y if scale is None else y * scale


def test_a_residual_block_is_seen_through_its_sum():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), Residual(), Residual(groups=2), nn.Flatten(), nn.Linear(32, 10))
    assert found(net, "1.conv1.weight") == found(net, "1.conv2.weight") == ("relu", "traced")
    assert found(net, "2.conv2.weight") == ("relu", "traced")
    assert found(net, "0.weight") == ("relu", "traced")  # on the way of the sum
    assert found(net, "4.weight") == ("", "traced")
    assert row(net, "2.conv1.weight").plan.fan_in == 4 * 9


def test_a_gated_unit_has_its_gate_before_the_activation_only():
    net = SwiGLU()
    assert found(net, "gate_proj.weight") == ("silu", "traced")
    assert found(net, "up_proj.weight") == ("", "traced")
    assert row(net, "up_proj.weight").reason == "multiplied by another signal"


def test_an_output_has_no_gain_even_where_a_sigmoid_makes_it():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())
    r = row(net, "2.weight")
    assert (r.activation, r.reason) == ("", "sigmoid follows, which makes the output")
    assert found(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), "0.weight") == ("relu", "traced")  # of a backbone


def test_ways_that_differ_take_the_first_and_say_so():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = self.a(x)
            return self.b(torch.relu(x)) + self.b(torch.tanh(x))

    r = row(Two(), "a.weight")
    assert (r.activation, r.reason) == ("relu", "relu follows (tanh on another way)")


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, mask=None, *, scale=1.0):
        x = self.a(x)
        if mask is not None:
            x = torch.tanh(x) if mask.sum() > 0 else x
        return self.b(torch.relu(x if scale == 1.0 else x * scale))


class Keywords(Masked):
    def forward(self, x, **options):  # noqa: ARG002
        return self.b(torch.relu(self.a(x)))


@pytest.mark.parametrize("kind", [Masked, Keywords])
def test_optional_arguments_have_their_defaults(kind):
    assert found(kind(), "a.weight") == ("relu", "traced")


# ---- where it cannot be traced


class Untraceable(nn.Module):
    """Its way depends on the data."""

    def __init__(self, **children):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x):
        for child in self.children():
            x = child(x) if x.sum() > 0 else -child(x)
        return x


def test_parts_of_what_cannot_be_traced_are():
    net = Untraceable(mlp=SwiGLU(), more=nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16)))
    assert found(net, "mlp.gate_proj.weight") == ("silu", "traced")
    assert found(net, "more.0.weight") == ("relu", "traced")
    assert found(net, "mlp.down_proj.weight") == found(net, "more.2.weight") == ("", "not traced")


def test_the_order_of_registration_tells_what_follows_a_part():
    net = Untraceable(
        fc1=nn.Linear(4, 8),
        norm=nn.LayerNorm(8),
        act=nn.GELU(),
        block=nn.Sequential(nn.Linear(8, 8), nn.Dropout()),
        act_fn=nn.ReLU(),
        head=nn.Linear(8, 2),
    )
    assert found(net, "fc1.weight") == ("gelu", "by order")
    assert row(net, "fc1.weight").reason == "act (gelu) is registered after it"
    assert found(net, "block.0.weight") == ("relu", "by order")
    assert found(net, "head.weight") == ("", "not traced")


def test_an_activation_registered_last_may_follow_any_layer():
    net = Untraceable(fc1=nn.Linear(4, 8), fc2=nn.Linear(8, 4), act=nn.GELU())
    assert found(net, "fc1.weight") == found(net, "fc2.weight") == ("", "not traced")
    assert "any of several" in row(net, "fc2.weight").reason
    assert found(Untraceable(fc1=nn.Linear(4, 8), act=nn.GELU()), "fc1.weight") == ("gelu", "by order")


def test_an_activation_after_a_part_that_cannot_be_traced_is_not_its_own():
    attention = Untraceable(q=nn.Linear(4, 4), out=nn.Linear(4, 4))
    net = Untraceable(attention=attention, act=nn.GELU(), fc1=nn.Linear(4, 8), fc2=nn.Linear(8, 4))
    assert {row.activation for row in it.plan(net).parameters.values()} == {""}


@pytest.mark.parametrize(("activation", "name"), [("relu", "relu"), ("gelu", "gelu"), (F.silu, "silu")])
def test_the_layers_of_a_transformer_are_known(activation, name):
    net = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 2, 32, activation=activation, batch_first=True),
        2,
        enable_nested_tensor=False,
    )
    assert found(net, "layers.1.linear1.weight") == (name, "by kind")
    assert found(net, "layers.1.linear2.weight") == ("", "by kind")
    assert "residual" in row(net, "layers.1.self_attn.out_proj.weight").reason
    r = row(net, "layers.0.self_attn.in_proj_weight")
    assert (r.plan.fan_in, r.plan.fan_out, r.plan.std) == (16, 16, 0.25)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_a_scripted_part_has_lost_its_kinds():
    net = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU())), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"0\.0\.weight .*RecursiveScriptModule"):
        it.plan(net)
    assert row(net, "1.weight", rules={"0.*": "normal", "*": "auto"}).how == "traced"


# ---- tracing leaves no trace


def test_tracing_changes_nothing():
    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.drop, self.seen = nn.Linear(4, 4), nn.Dropout(), []
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.seen.append(x)
            self.last = x
            self.calls += 1
            print("forward")
            return torch.relu(self.drop(self.fc(x)))

    net = Careless()
    for module in (net, net.fc):
        module.register_forward_hook(lambda *_: pytest.fail("a hook ran"))
        module.register_forward_pre_hook(lambda *_: pytest.fail("a hook ran"))
    whole = nn.Sequential(net, nn.Linear(4, 2))
    before = copy.deepcopy(net.state_dict())
    states = torch.random.get_rng_state(), random.getstate()
    assert found(whole, "0.fc.weight") == ("relu", "traced")
    assert net.seen == []
    assert not hasattr(net, "last")
    assert net.training
    assert net.drop.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1] == random.getstate()


def test_deep_networks_are_traced_too():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(300))

        def forward(self, x):
            for layer in self.layers:
                x = x + layer(torch.relu(x))
            return x

    report = it.plan(Deep())
    rows = [report.parameters[f"layers.{i}.weight"] for i in range(300)]
    assert [r.activation for r in rows] == ["relu"] * 299 + [""]


# ---- what it is for: signals keep their size


def mlp(activation, depth=20, width=256):
    pieces = [piece for _ in range(depth) for piece in (nn.Linear(width, width), activation)]
    return nn.Sequential(*pieces, nn.Linear(width, width))


@torch.no_grad()
def mean_squares(net, x):
    """Those of the outputs of all linear layers and convolutions."""
    squares = []
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda *a: squares.append(float(a[2].square().mean())))
    y = net(x)
    return [*squares, float(y.square().mean())]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks are small
    yield
    torch.set_num_threads(count)


X = torch.from_numpy(ic.normal((128, 256), seed=1))


#: Depth, and bounds of the mean squares of the layers before an activation, over those that the scheme aims
#: at. Odd functions that level off lose signal at the edge of chaos, as 1 / layers (softsign, with its kink
#: in the slope, faster). Those between relu and the identity multiply deviations by up to 1.22 per layer, as
#: the report says.
BOUNDS = {
    **dict.fromkeys(ACTIVATIONS, (20, 1 / 4, 4)),
    **dict.fromkeys(["tanh", "hard_tanh"], (20, 1 / 50, 1.5)),
    "softsign": (20, 1e-4, 1.5),
    **dict.fromkeys(["gelu", "gelu_tanh", "silu", "mish", "Hardswish"], (7, 1 / 4, 8)),
    "sigmoid": (20, 1 / 6, 4),
}


@pytest.mark.parametrize("activation", BOUNDS)
def test_a_deep_network_of_every_activation_keeps_its_signal(activation):
    depth, low, high = BOUNDS[activation]
    module = OTHER[activation][0] if activation in OTHER else ACTIVATIONS[activation][0]
    net = mlp(module, depth)
    report = it.initialize_(net, seed=0)
    aim = 256 * report.parameters["0.weight"].plan.std ** 2
    squares = np.array(mean_squares(net, X))[:depth] / aim
    assert low < squares.min() <= squares.max() < high, squares


def test_where_pytorch_s_own_initialization_fails():
    torch.manual_seed(0)
    net = mlp(nn.ReLU())
    net.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
    assert mean_squares(net, X)[-1] < 1e-2 * mean_squares(net, X)[0]  # the biases alone are left
    it.initialize_(net, seed=0)
    squares = mean_squares(net, X)
    assert 0.2 < squares[-3] / squares[0] < 5


def test_gradients_pass_a_deep_network_too():
    net = mlp(nn.ReLU(inplace=True))
    it.initialize_(net, seed=0)
    x = X.clone().requires_grad_()
    net(x).square().sum().backward()
    first, last = (net[i].weight.grad.square().mean().sqrt() for i in (0, 38))
    assert 0.2 < first / last < 5


def test_a_convolutional_network_keeps_its_signal():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *[Residual(16, groups=2) for _ in range(4)]
    )
    it.initialize_(net, seed=0)
    net.eval()  # without the batch's statistics: the running ones have been reset
    squares = mean_squares(net, torch.from_numpy(ic.normal((8, 3, 16, 16), seed=1)))
    assert 0.3 < min(squares[:3]) <= max(squares) < 2.0**8  # residual sums add up, each at most twice
    net.train()
    assert all(0.2 < s < 20 for s in mean_squares(net, torch.from_numpy(ic.normal((8, 3, 16, 16), seed=1))))


@torch.no_grad()
def test_a_transformer_layer_and_an_lstm_keep_their_signal():
    x = torch.from_numpy(ic.normal((8, 32, 64), seed=1))
    layer = nn.TransformerEncoderLayer(
        64, 4, 256, activation="gelu", batch_first=True, norm_first=True, dropout=0.0
    )
    it.initialize_(layer, seed=0)
    assert 1 < float(layer(x).square().mean()) < 4  # the sum of three signals
    torch.manual_seed(0)
    lstm = nn.LSTM(64, 64, num_layers=2, batch_first=True)
    default = float(lstm(x)[0].var(0).mean())  # over inputs: what the outputs tell of them
    it.initialize_(lstm, seed=0)
    ours = float(lstm(x)[0].var(0).mean())  # two layers of gates take their share
    assert ours > max(0.004, 3 * default), (ours, default)


def test_training_starts_at_once_where_it_does_not_with_pytorch_s_own():
    x, t = X[:, :64], X[:, :10].argmax(1)

    def loss_after(steps, init):
        net = nn.Sequential(mlp(nn.ReLU(), depth=12, width=64), nn.ReLU(), nn.Linear(64, 10))
        init(net)
        for _ in range(steps):
            loss = F.cross_entropy(net(x), t)
            for p, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())), strict=True):
                p.data -= 1e-3 * g.sign()
        return float(loss.detach())

    def default(net):
        torch.manual_seed(0)
        net.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)

    ours, theirs = loss_after(25, it.initialize_), loss_after(25, default)
    assert ours < 1.2, ours
    assert theirs > 2.0, theirs  # log(10) is 2.3
