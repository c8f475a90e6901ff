"""What operators see of a server: health, metrics, logs, traces, workers, copies and the ports for them."""
