"""What the three phases of the estimator are worth, on generated clips with two labels."""
import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / 'benchmarks' / 'three_phases.py'


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.draws
def test_three_phases_beat_training_from_scratch_at_equal_steps(tmp_path):
    spec = importlib.util.spec_from_file_location('three_phases', BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    found = benchmark.measure(tmp_path)
    phases = found.pop('three phases')
    # With so few clips the order in which numbers are added up decides much: 0.91 and 1.00, over 0.80 and 0.86, were
    # seen with one thread and with two.
    assert phases['map'] >= 0.9 and phases['f1'] >= 0.85
    for scratch in found.values():
        assert phases['map'] > scratch['map'] + 0.05 and phases['f1'] > scratch['f1'] + 0.05
    assert (tmp_path / 'three_phases.png').read_bytes()[:4] == b'\x89PNG'
