"""A process that takes the lease, says its fence, and works on until it is killed: for tests of what happens then.

python tests/trainer/hold_lease.py LEASE_S HEARTBEAT_S
"""

import sys
import time

from trainer.lease import leased
from trainer.supabase_client import open_project

with open_project() as project, leased(project, ["risk"], "tiny", lease_s=float(sys.argv[1]), heartbeat_s=float(sys.argv[2])) as lease:
    lease.enter("fine-tune")
    print(lease.fence, flush=True)
    step = 0
    while True:
        step += 1
        lease.note(step=step)
        time.sleep(0.01)
