"""The check whether the Kafka brokers answer."""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient

from services.kafka import clients
from services.runtime.server_watch import Dependency

AWAY = "Kafka does not answer: nothing new is read, and what is sent is not stored."


class BrokerCheck:
    """Asks a broker for the cluster; consumers and producers cannot be asked, because they wait and retry silently."""

    def __init__(self, where: clients.BrokerAddress) -> None:
        self._where = where
        self._admin: AIOKafkaAdminClient | None = None

    async def __call__(self) -> None:
        """Raise KafkaError, OSError or TimeoutError if no broker answers."""
        try:
            if self._admin is None:
                self._admin = AIOKafkaAdminClient(**clients.connection_options(self._where))
                await self._admin.start()
            await self._admin.describe_cluster()
        except BaseException:
            # A new client knows the brokers that are there now.
            admin, self._admin = self._admin, None
            if admin is not None:
                await clients.ends_in_time(admin.close())
            raise


def broker_dependency(where: clients.BrokerAddress) -> Dependency:
    """Return the dependency that every service has."""
    return Dependency("broker", BrokerCheck(where), AWAY)
