"""What a lock is on, in words; and which modes exclude each other."""

from __future__ import annotations

from backend.core.record import record

MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
# The manual's table of conflicting lock modes: for each mode the weakest that it excludes, and the holes.
_CONFLICTS = {
    "AccessShareLock": {"AccessExclusiveLock"},
    "RowShareLock": set(MODES[6:]),
    "RowExclusiveLock": set(MODES[4:]),
    "ShareUpdateExclusiveLock": set(MODES[3:]),
    "ShareLock": set(MODES[2:]) - {"ShareLock"},
    "ShareRowExclusiveLock": set(MODES[2:]),
    "ExclusiveLock": set(MODES[1:]),
    "AccessExclusiveLock": set(MODES),
}


def conflict(wanted: str | None, held: str | None) -> bool:
    """Whether a lock in the one mode has to wait for one in the other; unknown modes may."""
    return held in _CONFLICTS.get(wanted or "", {held})


@record
class LockTag:
    """What a row of pg_locks says the lock is on; `relation` is a name, or an oid in another database."""

    lock_type: str | None
    relation: str | None = None
    page: int | None = None
    tuple: int | None = None
    transaction: str | None = None
    virtual_transaction: str | None = None
    classid: int | None = None
    objid: int | None = None
    objsubid: int | None = None

    @property
    def words(self) -> str | None:
        """The object: a relation, a row, a transaction, an advisory key."""
        match self.lock_type:
            case None:
                return None
            case "transactionid":
                return f"transaction {self.transaction}"
            case "virtualxid":
                return f"virtual transaction {self.virtual_transaction}"
            case "tuple":
                return f"row ({self.page},{self.tuple}) of {self.relation}"
            case "page":
                return f"page {self.page} of {self.relation}"
            case "advisory":
                return self._advisory
        return self._other

    @property
    def _advisory(self) -> str:
        high, low = self.classid or 0, self.objid or 0
        if self.objsubid == 1:  # one 64-bit key, in two halves
            key = high << 32 | low
            return f"key {key - (1 << 64) if key >= 1 << 63 else key}"
        return f"keys {_signed(high)}, {_signed(low)}"

    @property
    def _other(self) -> str:
        if self.relation is not None:
            return self.relation
        parts = [f"{self.classid}/{self.objid}"] if self.objid is not None else []
        if self.objsubid:
            parts.append(f"part {self.objsubid}")
        return " ".join([str(self.lock_type), *parts])


def _signed(number: int) -> int:
    return number - (1 << 32) if number >= 1 << 31 else number
