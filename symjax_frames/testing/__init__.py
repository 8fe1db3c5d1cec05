"""Public tools to test equivariance with: errors, assertions, generic and hard inputs."""

from symjax_frames.testing._audit.audit import assert_audit as assert_audit
from symjax_frames.testing._audit.audit import audit as audit
from symjax_frames.testing._audit.record import Audit as Audit
from symjax_frames.testing._audit.record import CloudAudit as CloudAudit
from symjax_frames.testing._clouds import generic_cloud as generic_cloud
from symjax_frames.testing._clouds import hard_clouds as hard_clouds
from symjax_frames.testing._equivariance import assert_equivariant as assert_equivariant
from symjax_frames.testing._equivariance import equivariance_error as equivariance_error
from symjax_frames.testing._packed_group import packed_group as packed_group
