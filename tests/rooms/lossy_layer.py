"""A channel layer that loses one message in five, as channel layers may."""

import random
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

LOST = 0.2


class LossyLayer(RedisPubSubChannelLayer):
    """Redis, but for the messages that never arrive; the sender is not told."""

    _luck = random.Random(5)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self._luck.random() >= LOST:
            await super().group_send(group, message)
