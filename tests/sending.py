"""Send to the node by pynetdicom: whole associations, and encoded data sets byte for byte, well formed or not.

Of the node it takes only what keeps pynetdicom from losing answers. DCMTK's senders are in ``tests/peers.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node.dimse.associating import Questions
from tests.peers import LOOPBACK


@dataclass(frozen=True)
class Encoded:
    """One instance as it travels: the encoded data set and what the command set says of it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes


@contextlib.contextmanager
def associate(
    port: int, contexts: Sequence[tuple[str, str]], calling: str = "TESTSCU", called: str = "LUNGNODE"
) -> Iterator[Association]:
    """An association that proposes one presentation context for each (SOP class, transfer syntax)."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
    for sop_class, transfer_syntax in dict.fromkeys(contexts):
        ae.add_requested_context(sop_class, transfer_syntax)
    association = ae.associate(LOOPBACK, port, ae_title=called)
    if not association.is_established:
        raise ConnectionError("the association was not established")
    association.dimse = Questions(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def store_encoded(association: Association, instance: Encoded) -> int | None:
    """C-STORE exactly these bytes, well formed or not. The status of the response; None when none came.

    ``Association.send_c_store`` wants a data set that can be parsed and encodes it anew; this does neither.
    """
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = instance.sop_class_uid
    request.AffectedSOPInstanceUID = instance.sop_instance_uid
    request.DataSet = BytesIO(instance.data_set)
    context = association._get_valid_context(
        instance.sop_class_uid, instance.transfer_syntax_uid, "scu", allow_conversion=False
    )
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    status = getattr(response, "Status", None)
    return None if status is None else int(status)


def store(
    port: int, instances: Sequence[Encoded], calling: str = "TESTSCU", called: str = "LUNGNODE"
) -> list[int | None]:
    """One association, all instances in order, the statuses."""
    contexts = [(instance.sop_class_uid, instance.transfer_syntax_uid) for instance in instances]
    with associate(port, contexts, calling, called) as association:
        return [store_encoded(association, instance) for instance in instances]
