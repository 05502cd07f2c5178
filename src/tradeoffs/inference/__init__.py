"""Running policies: an in-process engine (`engine`), answering a problem set (`generate`), and timing (`throughput`)."""
