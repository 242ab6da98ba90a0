"""``python -m mcp_proxy_exporter``."""

import sys

from mcp_proxy_exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
