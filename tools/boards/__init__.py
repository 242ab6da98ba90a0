"""Pictures of the boards: a lively world, a real Prometheus, and Grafana's own panel components.

`service` are servers with honest delays, `world` is what happens, `answers` asks the boards'
queries, `page` draws them in a browser. `python -m tools.boards` does it all.
"""
