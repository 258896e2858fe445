"""What the requests for executions refer to, read from the cluster: the bytes of modules, the values of credentials."""

from curation.api.names import Trigger
from curation.cluster.answers import Unreachable
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import ExecutionRequest, Unsupplied
from curation.reconciler.sources.module_credentials import ModuleCredentials
from curation.reconciler.sources.modules import ModuleReconciler


class RunSupplies:
    """See `execution.seam.Supplies`."""

    def __init__(self, modules: ModuleReconciler, credentials: ModuleCredentials) -> None:
        self._modules = modules
        self._credentials = credentials

    async def wasm(self, request: ExecutionRequest) -> bytes:
        """The bytes of the module, as its source has them now."""
        return await self._modules.read_for_a_run(request.namespace, request.module.name)

    async def credentials(self, request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        """The credentials with their values; for a Cancel as they were last known, if need be."""
        last_known = request.trigger is Trigger.CANCEL
        try:
            return await self._credentials.of(request.namespace, request.credentials, last_known=last_known)
        except Unreachable as error:
            raise Unsupplied(f"The module could not be prepared: {error}") from None
