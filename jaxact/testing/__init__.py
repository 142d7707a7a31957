"""The public test battery: what the catalogue must pass, for an activation of your own."""

from __future__ import annotations

from jaxact.testing.battery import Check as Check
from jaxact.testing.battery import Report as Report
from jaxact.testing.battery import battery as battery
from jaxact.testing.battery import check as check
