"""`python -m serving`: serve as the environment says, until SIGTERM or SIGINT."""

import os
import sys

from lockstep.errors import LockstepError
from serving.logs import configure
from serving.loop import run
from serving.server import serve
from serving.settings import Settings


def main() -> int:
    """Exit status: 0 after a drain, 1 where the server could not start and said why on standard error."""
    configure()
    try:
        run(serve(Settings.from_env(os.environ)))
    except LockstepError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
