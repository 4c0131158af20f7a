"""The engine: numpy names, threads, devices and what is said when they are not there."""
import os
import shutil
import subprocess
import sys

import pytest

from gluon_action import engine
from gluon_action.errors import DeviceError


def python(code, **environment):
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_makes_mxnet_importable_without_loading_it():
    out = python('import sys, gluon_action; print("mxnet" in sys.modules); import mxnet; print(mxnet.__version__)')
    assert out.split() == ['False', '1.9.1']


def test_a_program_that_imports_mxnet_first_runs_too():
    out = python('import numpy as np, os; import mxnet as mx; print(mx.nd.ones(3).asnumpy().sum(), np.bool is bool)')
    assert out == '3.0 True'


def test_mxnet_gets_all_usable_cores_shared_between_devices():
    code = 'import os, gluon_action.engine as e; {}; print(os.environ["OMP_NUM_THREADS"], e.usable_cores())'
    environment = {'OMP_NUM_THREADS': ''}
    threads, cores = python(code.format('pass'), **environment).split()
    assert threads == cores
    threads, cores = map(int, python(code.format('e.set_threads(2)'), **environment).split())
    assert threads == max(1, cores // 2)


def test_a_thread_count_from_the_environment_is_respected():
    assert python('import os, gluon_action.engine as e; print(e.set_threads(2), os.environ["OMP_NUM_THREADS"])',
                  OMP_NUM_THREADS='3') == '3 3'


def test_a_child_process_may_choose_its_own_threads():
    code = ('import subprocess, sys, gluon_action; print(subprocess.run([sys.executable, "-c", '
            '"import gluon_action.engine as e; print(e.set_threads(64))"], capture_output=True, text=True).stdout)')
    assert python(code, OMP_NUM_THREADS='') == '1'


def test_zero_gpus_is_the_cpu_and_num_cpus_splits_it():
    import mxnet as mx
    assert engine.contexts(0) == [mx.cpu(0)]
    assert engine.contexts(0, num_cpus=3) == [mx.cpu(0), mx.cpu(1), mx.cpu(2)]


@pytest.mark.parametrize('arguments', [(-1, 1), (0, 0)])
def test_impossible_device_counts_are_refused(arguments):
    with pytest.raises(DeviceError, match='--num-cpus 1 or more'):
        engine.contexts(*arguments)


def test_gpus_with_the_cpu_build_name_the_extra_to_install():
    with pytest.raises(DeviceError, match=r'without CUDA.*gluon_action\[cu112\]'):
        engine.check_gpus(8, distribution='mxnet')


def test_a_missing_driver_is_named():
    with pytest.raises(DeviceError, match='driver is not installed'):
        engine.check_gpus(1, driver='libcuda-that-is-not-there.so.1', distribution='mxnet-cu112')


@pytest.fixture
def driver(tmp_path):
    """Make a driver library that reports GPUs of given capabilities, compiled, so that ctypes is really used."""
    if not shutil.which('gcc'):
        pytest.skip('no C compiler')

    def build(*capabilities, status=0):
        majors = ','.join(str(major) for major, _ in capabilities) or '0'
        minors = ','.join(str(minor) for _, minor in capabilities) or '0'
        source = tmp_path / 'driver.c'
        source.write_text(f'''
            static int majors[] = {{{majors}}}, minors[] = {{{minors}}};
            int cuInit(unsigned f) {{ return {status}; }}
            int cuDeviceGetCount(int *n) {{ *n = {len(capabilities)}; return 0; }}
            int cuDeviceGet(int *d, int i) {{ *d = i; return 0; }}
            int cuDeviceGetAttribute(int *v, int a, int d) {{ *v = a == 75 ? majors[d] : minors[d]; return 0; }}
        ''')
        library = tmp_path / f'libcuda{len(capabilities)}{status}{majors.replace(",", "")}.so'
        subprocess.run(['gcc', '-shared', '-fPIC', '-o', library, source], check=True)
        return str(library)
    return build


def test_gpus_that_mxnet_has_code_for_pass(driver):
    library = driver((5, 0), (7, 5), (8, 9))
    assert engine.gpu_capabilities(library) == [(5, 0), (7, 5), (8, 9)]
    for count in (1, 2, 3):
        assert engine.check_gpus(count, driver=library, distribution='mxnet-cu112') is None
    with pytest.raises(DeviceError, match='--num-gpus 4: this machine has 3; pass --num-gpus 3'):
        engine.check_gpus(4, driver=library, distribution='mxnet-cu112')


def test_only_the_gpus_that_are_asked_for_need_code(driver):
    library = driver((8, 9), (9, 0))
    assert engine.check_gpus(1, driver=library, distribution='mxnet-cu112') is None
    with pytest.raises(DeviceError, match=r'gpu\(1\) has compute capability 9\.0'):
        engine.check_gpus(2, driver=library, distribution='mxnet-cu112')


def test_a_hopper_is_refused_before_the_first_kernel(driver):
    with pytest.raises(DeviceError, match=r'gpu\(1\) has compute capability 9\.0.*only up to 8\.9'):
        engine.check_gpus(2, driver=driver((8, 0), (9, 0)), distribution='mxnet-cu112')


def test_fewer_gpus_than_asked_for_names_both_numbers(driver):
    with pytest.raises(DeviceError, match='--num-gpus 8: this machine has 1'):
        engine.check_gpus(8, driver=driver((7, 0)), distribution='mxnet-cu112')


def test_a_driver_without_devices_reports_none(driver):
    assert engine.gpu_capabilities(driver(status=100)) == []


def test_a_driver_that_does_not_start_is_an_error(driver):
    with pytest.raises(DeviceError, match='cuInit returned 999'):
        engine.gpu_capabilities(driver(status=999))
