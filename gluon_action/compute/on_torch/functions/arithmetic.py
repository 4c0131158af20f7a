"""Functions of numbers one by one: of one array, of two that are broadcast, of an array and a number."""
from __future__ import annotations

import functools
import operator

import torch

from .table import computes, enter_plain

enter_plain({
    'exp': torch.exp, 'log': torch.log, 'sqrt': torch.sqrt, 'rsqrt': torch.rsqrt, 'square': torch.square,
    'sign': torch.sign, 'floor': torch.floor, 'abs': torch.abs, 'negative': torch.neg, 'reciprocal': torch.reciprocal,
    'elemwise_add': operator.add, 'elemwise_sub': operator.sub, 'elemwise_mul': operator.mul,
    'elemwise_div': operator.truediv, 'broadcast_add': operator.add, 'broadcast_sub': operator.sub,
    'broadcast_mul': operator.mul, 'broadcast_div': operator.truediv, 'broadcast_power': torch.pow})


@computes('add_n')
def add_n(*arrays):
    """Add up arrays."""
    return functools.reduce(operator.add, arrays)


@computes('broadcast_maximum')
def maximum(a, b):
    """Take the larger; of equal ones the gradient goes to the first, as in MXNet."""
    return torch.where(a >= b, a, b)


@computes('broadcast_minimum')
def minimum(a, b):
    """Take the smaller; of equal ones the gradient goes to the first, as in MXNet."""
    return torch.where(a <= b, a, b)


@computes('broadcast_lesser')
def lesser(a, b):
    """1 where the first is smaller, 0 elsewhere."""
    return (a < b).to(a.dtype)


@computes('broadcast_equal')
def equal(a, b):
    """1 where both are equal, 0 elsewhere."""
    return (a == b).to(a.dtype)


@computes('_plus_scalar')
def plus_number(x, *, scalar, is_int=False):
    """Add a number."""
    return x + scalar


@computes('_minus_scalar')
def minus_number(x, *, scalar, is_int=False):
    """Subtract a number."""
    return x - scalar


@computes('_rminus_scalar')
def number_minus(x, *, scalar, is_int=False):
    """Subtract from a number."""
    return scalar - x


@computes('_mul_scalar')
def times_number(x, *, scalar, is_int=False):
    """Multiply by a number."""
    return x * scalar


@computes('_div_scalar')
def over_number(x, *, scalar, is_int=False):
    """Divide by a number."""
    return x / scalar


@computes('_rdiv_scalar')
def number_over(x, *, scalar, is_int=False):
    """Divide a number."""
    return scalar / x


@computes('_power_scalar')
def to_the_number(x, *, scalar, is_int=False):
    """Raise to a power."""
    return x ** scalar


@computes('_rpower_scalar')
def number_to_the(x, *, scalar, is_int=False):
    """Raise a number to powers."""
    return scalar ** x


@computes('_maximum_scalar')
def at_least(x, *, scalar, is_int=False):
    """Bring what is smaller up to a number."""
    return torch.clamp(x, min=scalar)


@computes('_minimum_scalar')
def at_most(x, *, scalar, is_int=False):
    """Bring what is larger down to a number."""
    return torch.clamp(x, max=scalar)
