"""Groups: averages are taken over them, and tests draw their elements."""

from symjax_frames.groups._continuous import euclidean as euclidean
from symjax_frames.groups._continuous import orthogonal as orthogonal
from symjax_frames.groups._continuous import special_euclidean as special_euclidean
from symjax_frames.groups._continuous import special_orthogonal as special_orthogonal
from symjax_frames.groups._continuous import translation as translation
from symjax_frames.groups._degree import degree_of as degree_of
from symjax_frames.groups._finite import cyclic as cyclic
from symjax_frames.groups._finite import dihedral as dihedral
from symjax_frames.groups._finite import icosahedral as icosahedral
from symjax_frames.groups._finite import inversion as inversion
from symjax_frames.groups._finite import octahedral as octahedral
from symjax_frames.groups._finite import permutations as permutations
from symjax_frames.groups._finite import signed_permutations as signed_permutations
from symjax_frames.groups._finite import signs as signs
from symjax_frames.groups._finite import tetrahedral as tetrahedral
from symjax_frames.groups._generated import from_generators as from_generators
from symjax_frames.groups._group import Group as Group
from symjax_frames.groups._group import check_group as check_group
from symjax_frames.groups._group import finite_group as finite_group
from symjax_frames.groups._quadrature import QuadratureRule as QuadratureRule
from symjax_frames.groups._quadrature import quadrature as quadrature
from symjax_frames.groups._table import quotient_table as quotient_table
from symjax_frames.groups._table import right_cosets as right_cosets
