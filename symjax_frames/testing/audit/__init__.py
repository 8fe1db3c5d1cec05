"""The audit of a function: what of its symmetry, its smoothness and its forces it breaks."""

from symjax_frames.testing.audit._audit import assert_audit as assert_audit
from symjax_frames.testing.audit._audit import audit as audit
from symjax_frames.testing.audit._record import Audit as Audit
from symjax_frames.testing.audit._record import CloudAudit as CloudAudit
