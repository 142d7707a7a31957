"""The backend computes right numbers, and the doctor would say if it did not."""

import jax
import pytest

from jaxact import doctor


@pytest.mark.fast
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_this_backend_gets_no_row_wrong(dtype):
    assert doctor.wrong_rows(dtype) == 0


@pytest.mark.fast
def test_diagnosis_of_a_right_backend():
    found = doctor.diagnose()
    assert found.healthy
    assert found.warnings == ()
    assert dict(found.versions)["jaxlib"] not in doctor.KNOWN_BAD
    assert len(found.devices) == len(jax.devices())


@pytest.mark.fast
def test_a_wrong_backend_is_reported(monkeypatch):
    monkeypatch.setattr(doctor, "wrong_rows", lambda dtype: 3616)
    monkeypatch.setattr(doctor, "_version", lambda name: "0.10.2")
    found = doctor.diagnose()
    assert not found.healthy
    text = " ".join(found.warnings)
    assert "jaxlib 0.10.2 computes wrong rows" in text
    assert "3,616 of 20,000 rows wrong in float64" in text
    assert doctor.WORKAROUND in text
