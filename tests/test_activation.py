import jax, jax.numpy as jnp, numpy as np, pytest
import jaxact as ja
from jaxact.activation import derived_moments

@pytest.mark.parametrize("name", ja.names())
def test_x(name, x64):
    a = ja.get(name)
    x = jnp.linspace(-2, 2, 7)+.013
    a.primitive(x); a.derivative(x); a.moments(1.3); derived_moments(a, 1.3)
    if a.closed.inverse or a.monotone(): a.inverse(a(x))
@pytest.mark.parametrize("name", ja.names())
def test_32(name):
    a = ja.get(name)
    x = jnp.linspace(-2, 2, 7)+.013
    assert a(x).dtype==jnp.float32 and a.primitive(x).dtype==jnp.float32 and a.moments(1.3)
    if a.closed.inverse or a.monotone(): a.inverse(a(x))
