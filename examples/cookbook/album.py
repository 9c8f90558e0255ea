"""Publish an album; a worker in TypeScript makes its thumbnails."""

from dataclasses import dataclass
from typing import Any

from ava import Env, worker


@dataclass
class Album:
    images: list[str]


@worker(max_retries=3)
def publish_album(input: Album, env: Env) -> dict[str, Any]:
    thumbnails = env.map("thumbnail", ({"image": image} for image in input.images))
    print(f"Publishing {', '.join(each['file'] for each in thumbnails)}")
    return {"thumbnails": thumbnails}
