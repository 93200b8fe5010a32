"""Places by name, as a configuration gives them."""

from typing import Any

from jprm.errors import UserError
from jprm.execute.place import CodePlace
from jprm.execute.pool import Pool


def open_place(spec: str, **settings: Any) -> CodePlace:
    """Opens the place that `spec` names: "local", "ray", or the URL of a SandboxFusion service.

    settings: keyword arguments of `Pool` (`workers`, `timeout_s`, `memoize`, ...). On Ray, `workers`
    counts per node; at a URL it is the number of requests at the same time.
    Raises UserError for another `spec`, and where the place cannot be reached.
    """
    if spec == "local":
        return Pool(**settings)
    if spec == "ray":
        from jprm.execute.on_ray import RayPool

        return RayPool(**settings)
    if spec.startswith(("http://", "https://")):
        from jprm.execute.fusion import FusionPool

        return FusionPool(spec, **settings)
    raise UserError(f"{spec!r} is no place to run code; choose local, ray, or a URL such as http://host:8080")
