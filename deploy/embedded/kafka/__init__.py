"""Real Apache Kafka on this machine, under Java 17 or newer: one node, or three that hold every record three times.

In a test or a script:

    from deploy.embedded import kafka
    cluster = kafka.start_cluster(tmp_path / "kafka", nodes=3)   # free ports; or ports=(9092, 9093, 9094)
    ...  # cluster.bootstrap for bootstrap.servers; topics by deploy.kafka_admin.create_topics(replication=...)
    cluster.nodes[0].kill(); cluster.nodes[0].start()            # a crash, and its return on the same ports and data
    cluster.stop()

The data stays in the folder, so that a later `start_cluster` on it goes on where this one ended. Maven fetches the
program once, into `~/.cache/headrace/kafka`. Nobody has to log in, so it listens on loopback unless told otherwise.
"""

from __future__ import annotations

from deploy.embedded.kafka.cluster import Cluster, Node, start_cluster
from deploy.embedded.kafka.layout import Layout, Place, command, environment, is_up, plan, prepare
from deploy.embedded.kafka.program import Program, find_program, obstacle

__all__ = [
    "Cluster",
    "Layout",
    "Node",
    "Place",
    "Program",
    "command",
    "environment",
    "find_program",
    "is_up",
    "obstacle",
    "plan",
    "prepare",
    "start_cluster",
]
