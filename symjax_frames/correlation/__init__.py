r"""Correlation and symmetry: turning kernels, lifting to a group, correlation on the group.

Three identities connect them, for every symmetry of the grid, `k \star f` being `correlate(f, k)`:

* kernel rotation, `(g.k) \star (g.f) = g.(k \star f)`, also for `convolve`
* lifting, `lift(g.f) = g.lift(f)`, where `g` turns each map and shifts the group axis
* averaging, `group_average(correlate)` = mean of `lift` over its group axis = correlation with
  `average_kernel`

They hold for images and groups of the plane, and for volumes and groups of space. For rotations
off the grid they hold up to the interpolation of images. Kernels made of circular
harmonics turn without interpolation.
"""

from symjax_frames.correlation._basis import harmonic_basis as harmonic_basis
from symjax_frames.correlation._basis import kernel_basis as kernel_basis
from symjax_frames.correlation._basis import pixel_basis as pixel_basis
from symjax_frames.correlation._correlate import convolve as convolve
from symjax_frames.correlation._correlate import correlate as correlate
from symjax_frames.correlation._correlate import kernels as kernels
from symjax_frames.correlation._correlate import kernels_3d as kernels_3d
from symjax_frames.correlation._lift import average_kernel as average_kernel
from symjax_frames.correlation._lift import group_correlate as group_correlate
from symjax_frames.correlation._lift import lift as lift
