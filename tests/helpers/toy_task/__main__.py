"""`python -m tests.helpers.toy_task train CONFIG` is `python -m experiments` with the toy as a task.

`TOY_KILL="save 2 0.01"` kills the process 0.01 seconds into its second checkpoint.
"""

import os
import sys

from experiments.commands.main import main
from experiments.tasks.registry import TASKS
from tests.helpers import toy_task
from tests.helpers.toy_task.kill import kill_while

TASKS[toy_task.NAME] = toy_task.PACKAGE
if "TOY_KILL" in os.environ:
    kill_while(os.environ["TOY_KILL"])
sys.exit(main())
