"""Registry and repository of `spec.source.oci.ref`, and where their parts are served. Pure."""

from dataclasses import dataclass
from typing import Final, Self

HTTPS_PORT: Final = 443

# Docker Hub has three names: the one that people write, the one that serves, and the one that its credentials are
# filed under. And its tokens come from a fourth.
_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HUB_SERVES: Final = "registry-1.docker.io"
_HUB_TOKENS: Final = "auth.docker.io"


@dataclass(frozen=True, slots=True)
class Origin:
    """A host and a port, over https: what credentials are for."""

    host: str
    port: int = HTTPS_PORT

    def __str__(self) -> str:
        return self.host if self.port == HTTPS_PORT else f"{self.host}:{self.port}"

    @property
    def filed_as(self) -> frozenset["Origin"]:
        """The origins whose credentials are this one's too: for all but Docker Hub, itself."""
        if self.port == HTTPS_PORT and self.host in _HUB | {_HUB_TOKENS}:
            return frozenset(Origin(name) for name in _HUB | {_HUB_TOKENS})
        return frozenset({self})

    @classmethod
    def parse(cls, text: str) -> Self:
        """From HOST or HOST:PORT. Raises ValueError."""
        host, colon, port = text.partition(":")
        if not host or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
            raise ValueError(f"{text[:64]!r} is not HOST or HOST:PORT")
        return cls(host.lower().removesuffix("."), int(port) if colon else HTTPS_PORT)


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository of a registry."""

    registry: Origin
    repository: str

    @classmethod
    def parse(cls, ref: str) -> Self:
        """From a reference of the form that the schema admits. Raises ValueError for any other."""
        registry, slash, repository = ref.partition("/")
        origin = Origin.parse(registry)
        if not slash or not repository:
            raise ValueError(f"{ref[:64]!r} names no repository")
        if origin in Origin("docker.io").filed_as:
            origin = Origin(_HUB_SERVES)
            repository = repository if "/" in repository else f"library/{repository}"
        return cls(origin, repository)

    def url(self, path: str) -> str:
        """Of something in the repository, such as `manifests/sha256:...`."""
        return f"https://{self.registry}/v2/{self.repository}/{path}"
