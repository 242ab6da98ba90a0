"""The boards: one module each, and what they share.

`promql` knows the metrics' labels, `draw` how a figure is drawn, `board` what every board has:
variables, annotations, links. A board's own module knows its questions and which panel answers
them.
"""

from grafana.boards.context import CONTEXT
from grafana.boards.overview import OVERVIEW
from grafana.boards.protocol import PROTOCOL
from grafana.boards.proxy import PROXY
from grafana.boards.tool import TOOL_DETAIL

BOARDS = (OVERVIEW, TOOL_DETAIL, CONTEXT, PROTOCOL, PROXY)
"""All boards, in the order in which a reader needs them."""
