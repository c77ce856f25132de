"""Where postgresql-common puts the data folder of a server that nobody has placed."""

from __future__ import annotations

import re

from backend.core.host import script
from backend.core.session import Session

# The files in the order in which they are read; the last one counts.
_CONFIGURED = """\
cd /etc/postgresql-common 2>/dev/null || exit 0
b='[[:space:]]'
cat createcluster.conf createcluster.d/*.conf 2>/dev/null |
    sed -n "s/^$b*data_directory$b*=\\{0,1\\}$b*'\\{0,1\\}\\([^'#]*[^'#[:space:]]\\).*/\\1/p"
"""

_USUAL = "/var/lib/postgresql/%v/%c"


async def usual_data(s: Session, version: int, name: str) -> str:
    """The folder that pg_createcluster takes, by createcluster.conf or by itself."""
    lines = (await s.host.run(script(_CONFIGURED))).demand().text.splitlines()
    known = {"%v": str(version), "%c": name, "%%": "%"}
    pattern = lines[-1] if lines else _USUAL
    return re.sub("%[vc%]", lambda found: known[found[0]], pattern).rstrip("/")
