"""The engine: help at the imports, threads, devices and what is said when they are not there."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from gluon_action import engine, mxnet_import
from gluon_action.cli import doctor
from gluon_action.compute import engines
from gluon_action.errors import DeviceError


def python(code, **environment):
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def told_by(code, **environment):
    """What a program prints last, as JSON."""
    return json.loads(python(code, **environment).splitlines()[-1])


NUMPY_NAMES = """
import types, warnings, numpy
DROPPED = ('bool', 'int', 'NaN', 'NAN', 'PINF', 'NINF', 'Inf', 'infty', 'PZERO', 'round_', 'product', 'alltrue', 'in1d',
           'row_stack', 'trapz', 'msort', 'compat', 'mirr', 'no_such_name')

def names():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = {name: value for name, value in vars(numpy).items() if not isinstance(value, types.ModuleType)}
        for name in DROPPED:
            try:
                found['got', name] = repr(getattr(numpy, name))
            except Exception as error:
                found['got', name] = repr(error)
        return found

import numpy.testing  # and other submodules that come into numpy by being imported, by whomever
before, listed = names(), set(dir(numpy))
"""
NUMPY_AFTER = """
import gluon_action, mxnet, gluoncv
after = names()
told['numpy'] = [
    str(name) for name in before.keys() | after.keys() if before.get(name, 0) is not after.get(name, 0)
    and not (isinstance(name, tuple) and before[name].split(' at 0x')[0] == after[name].split(' at 0x')[0])]
told['numpy'] += [name for name in listed ^ set(dir(numpy))
                  if not isinstance(getattr(numpy, name), types.ModuleType)]
"""


CORE = """
def core():
    for line in open('/proc/self/maps'):
        if 'mxnet/libopenblas' in line:
            name = ctypes.CDLL(line.split()[-1]).openblas_get_corename
            name.restype = ctypes.c_char_p
            return name().decode(), os.environ.get('OPENBLAS_CORETYPE')

"""
BFLOAT16 = """
from mxnet.contrib import amp
amp.init(target_dtype='bfloat16')
ones = mxnet.nd.ones((4, 4))
try:
    layer = mxnet.nd.FullyConnected(ones, ones, no_bias=True, num_hidden=4)
    told['bfloat16'] = float(mxnet.nd.amp_cast(layer, dtype='float32').asnumpy()[0, 0])
except mxnet.MXNetError as error:
    told['bfloat16'] = 'no' if 'could not create a primitive descriptor iterator' in str(error) else str(error)
"""


@pytest.fixture(scope='module')
def pytorch(tmp_path_factory):
    """The environment, with what GluonCV would see of PyTorch 2."""
    folder = tmp_path_factory.mktemp('pytorch')
    (folder / 'torch').mkdir()
    (folder / 'torch' / '__init__.py').write_text("__version__ = '2.13.0+cpu'\nclass Tensor: pass\n")
    return {'PYTHONPATH': os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])}


ZOO_AND_PYTORCH = """
import gluoncv
before = sys.modules.get('torch')
from gluon_action.model_zoo import get_model
net = get_model('resnet18_v1b_custom', nclass=3, pretrained_base=False, input_size=32)
import torch
told['pytorch'] = [torch.__version__, before in (None, torch), gluoncv._found_pytorch, gluoncv.__name__]
"""
BOTH_LIVE = ['2.13.0+cpu', True, False, 'gluoncv']


@pytest.fixture(scope='module')
def package_first(pytorch):
    """What a program finds that imports the package before MXNet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv('OPENBLAS_CORETYPE', raising=False)
        return told_by(f"""
import ctypes, json, os, sys
{CORE}
{NUMPY_NAMES}
import gluon_action
told = {{'mxnet is loaded': 'mxnet' in sys.modules}}
import mxnet
told['kernels'] = core()
# SciPy's statistics, which take longer than half of MXNet, are loaded when MXNet calls them.
from mxnet import test_utils
from mxnet.contrib import quantization
told |= {{'mxnet': mxnet.__version__, 'scipy is loaded': 'scipy.stats' in sys.modules}}
told['scipy works'] = [float(test_utils.ss.norm(0, 1).cdf(0)), float(quantization.stats.entropy([1]))]
import scipy.stats
told['scipy is itself'] = scipy.stats is sys.modules['scipy.stats'] and callable(scipy.stats.kendalltau)
from mxnet.gluon.contrib.estimator import EarlyStoppingHandler
mx, x = mxnet, mxnet.np.array([1., 2., 3.])
told['arrays'] = ' '.join(map(str, (x[x > 1].sum(), mx.np.pad(mx.np.ones((2, 2)), ((1, 1), (1, 1))).shape,
                                    mx.np.in1d(x, x).all(), mx.np.NINF)))
mx.test_utils.assert_almost_equal(x, x)
EarlyStoppingHandler(mx.metric.Accuracy())
{NUMPY_AFTER}
{ZOO_AND_PYTORCH}
{BFLOAT16}
print(json.dumps(told))""", **pytorch)


@pytest.fixture(scope='module')
def mxnet_first():
    """What a program finds that imports MXNet before the package, and whose environment names kernels."""
    return told_by(f"""
import ctypes, json, os
{CORE}
{NUMPY_NAMES}
import mxnet
told = {{'kernels': core(), 'sum': float(mxnet.nd.ones(3).asnumpy().sum())}}
{NUMPY_AFTER}
print(json.dumps(told))""", OPENBLAS_CORETYPE='Nehalem')


def test_importing_the_package_makes_mxnet_importable_without_loading_it(package_first):
    found = package_first
    assert (found['mxnet is loaded'], found['mxnet']) == (False, '1.9.1')
    assert (found['scipy is loaded'], found['scipy works'], found['scipy is itself']) == (False, [0.5, 0.0], True)


def test_a_program_that_imports_mxnet_first_runs_too(mxnet_first):
    assert mxnet_first['sum'] == 3


def test_numpy_is_after_the_import_what_it_was_before(package_first, mxnet_first):
    assert package_first['numpy'] == mxnet_first['numpy'] == []


def test_mxnets_own_arrays_work_with_names_that_numpy_dropped(package_first):
    assert package_first['arrays'] == '5.0 (4, 4) True -inf'


def test_the_zoo_and_pytorch_2_live_in_one_environment(package_first):
    assert package_first['pytorch'] == BOTH_LIVE


@pytest.mark.parametrize('first', ['import torch, gluon_action', 'from gluoncv.data import VideoClsCustom'])
def test_they_do_whichever_is_imported_first(pytorch, first):
    told = told_by(f'{first}\nimport json, sys\ntold = {{}}\n{ZOO_AND_PYTORCH}\nprint(json.dumps(told))', **pytorch)
    assert told['pytorch'] == BOTH_LIVE


INTEL, AMD = 'vendor_id : GenuineIntel\ncpu family : 6\nmodel : {}\n', 'vendor_id : AuthenticAMD\ncpu family : 26\n'
NEW, OLD = 'flags : fpu avx avx2 fma avx512f\n\nprocessor : 1\n', 'flags : fpu avx fma\n\nflags: avx2\n'


@pytest.mark.parametrize('cpu, core', [
    (AMD + NEW, 'Haswell'), (AMD + OLD, None), ('', None),
    (INTEL.format(143) + NEW, 'Haswell'), (INTEL.format(85) + NEW, None), (INTEL.format(143) + OLD, None)])
def test_openblas_is_told_its_kernels_where_it_is_older_than_the_cpu(monkeypatch, cpu, core):
    monkeypatch.delenv('OPENBLAS_CORETYPE', raising=False)
    assert mxnet_import.openblas_core(cpu) == core
    monkeypatch.setenv('OPENBLAS_CORETYPE', 'Zen')
    assert mxnet_import.openblas_core(cpu) is None


def test_mxnets_openblas_takes_the_kernels_and_nothing_else_hears_of_it(monkeypatch, package_first):
    monkeypatch.delenv('OPENBLAS_CORETYPE', raising=False)
    core = mxnet_import.openblas_core()
    if core is None:
        pytest.skip('OpenBLAS knows this CPU, or it has no AVX2')
    assert package_first['kernels'] == [core, None]


def test_kernels_from_the_environment_are_respected(mxnet_first):
    assert mxnet_first['kernels'] == ['Nehalem', 'Nehalem']


@pytest.mark.parametrize('flags, has', [
    ('flags : fpu avx2 fma\n', False), ('flags : avx2 avx512f avx512cd avx512er\n', False),
    ('flags : avx2 avx512f avx512bw avx512dq avx512vl\n', True), ('Features : asimd\n', True), ('', True)])
def test_bfloat16_needs_avx_512(flags, has):
    assert engine.has_bfloat16(flags) == has


def test_what_is_said_of_bfloat16_is_so(package_first):
    assert package_first['bfloat16'] == (4 if engine.has_bfloat16() else 'no')


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


@pytest.mark.parametrize('version, more', [
    ((3, 12, 9), ''), ((3, 13, 0), ' && pip install --no-deps mxnet-cu112==1.9.1')])
def test_the_command_that_installs_mxnet_fits_the_python(monkeypatch, version, more):
    monkeypatch.setattr(engine.sys, 'version_info', version)
    assert engine.install_command('mxnet-cu112') == f'pip install "gluon_action[cu112]"{more}'


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
    with pytest.raises(DeviceError, match=r'gpu\(1\) has compute capability 9\.0.*only up to 8\.9.*--engine torch'):
        engine.check_gpus(2, driver=driver((8, 0), (9, 0)), distribution='mxnet-cu112')


@pytest.mark.parametrize('can, told', [
    ({'torch'}, ('ok', 'compute capability 9.0; used by --engine torch; not by --engine mxnet: no code')),
    ({'mxnet', 'torch'}, ('ok', 'used by --engine mxnet and --engine torch')), (set(), ('note', 'used by no engine'))])
def test_the_doctor_says_which_engine_uses_the_gpus(can, told, monkeypatch):
    def contexts(self):
        if {engines.OnMXNet: 'mxnet', engines.OnTorch: 'torch'}[type(self)] not in can or self.num_gpus != 1:
            raise DeviceError('no code')
    monkeypatch.setattr(engine, 'gpu_capabilities', lambda: [(9, 0)])
    for kind in engines.ENGINES.values():
        monkeypatch.setattr(kind, 'contexts', contexts)
    found = doctor._gpus()
    assert found.state == told[0] and told[1] in found.detail


def test_fewer_gpus_than_asked_for_names_both_numbers(driver):
    with pytest.raises(DeviceError, match='--num-gpus 8: this machine has 1'):
        engine.check_gpus(8, driver=driver((7, 0)), distribution='mxnet-cu112')


def test_a_driver_without_devices_reports_none(driver):
    assert engine.gpu_capabilities(driver(status=100)) == []


def test_a_driver_that_does_not_start_is_an_error(driver):
    with pytest.raises(DeviceError, match='cuInit returned 999'):
        engine.gpu_capabilities(driver(status=999))


@pytest.mark.parametrize(('tunables', 'kept'), [
    (None, True), ('glibc.malloc.hugetlb=1', True),
    ('glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4194304', False)])
def test_compiled_graphs_keep_their_memory_unless_it_is_to_be_given_back(monkeypatch, tunables, kept):
    """And on GPUs, whose memory is another, they always do."""
    import mxnet as mx

    from gluon_action.train.recipes.parts import compile_to_train
    monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
    if tunables:
        monkeypatch.setenv('GLIBC_TUNABLES', tunables)
    net = mx.gluon.nn.Dense(1)
    compile_to_train(net, [mx.cpu(0), mx.cpu(1)])
    assert dict(net._flags)['static_alloc'] is kept
    compile_to_train(net, [mx.gpu(0)])
    assert dict(net._flags)['static_alloc'] is True
