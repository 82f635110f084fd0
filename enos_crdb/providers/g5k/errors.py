"""What EnOSlib, the API and ssh raise, as sentences with a remedy; their own words are always in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from enoslib.errors import (
    EnosError,
    EnosFailedHostsError,
    EnosUnreachableHostsError,
    InvalidReservationCritical,
    InvalidReservationTime,
    InvalidReservationTooOld,
    NoSlotError,
)
from enoslib.infra.enos_g5k.error import (
    DeployError,
    EnosG5kDuplicateJobsError,
    EnosG5kKavlanNodesError,
    MissingNetworkError,
    NotEnoughNodesError,
)
from grid5000.exceptions import (
    Grid5000AuthenticationError,
    Grid5000CreateError,
    Grid5000Error,
    Grid5000HttpError,
    Grid5000ParsingError,
)

from enos_crdb.errors import ConfigurationError, EnosCrdbError, ProviderError
from enos_crdb.providers.g5k import oar

STATUS = "https://www.grid5000.fr/status lists maintenance and incidents."


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Say in our errors what goes wrong inside the block; `doing` ends «Grid'5000 refused ...»."""
    try:
        yield
    except (Grid5000Error, requests.RequestException, EnosError, DeployError) as error:
        raise explain(error, doing) from error
    except TypeError as error:
        if "'Response' object" not in str(error):  # what python-grid5000 trips over when the answer is no JSON
            raise
        raise _not_json(error, doing) from error
    except ValueError as error:
        if "enough NIC" not in str(error):
            raise
        raise ConfigurationError(
            f"g5k.networks.database: a node has no second network card for the VLAN ({error}).\n"
            "Choose another cluster (`enos_crdb check --env FILE` lists those that have one), or `prod`."
        ) from error


def explain(error: Exception, doing: str) -> EnosCrdbError:
    """The error for the user; `doing` is what was tried (`the reservation of 4 nodes`)."""
    match error:
        case InvalidReservationTime():
            return oar.refused_until(error.datetime, doing)
        case InvalidReservationTooOld():
            return oar.refused("Reservation too old", doing)
        case NoSlotError() | InvalidReservationCritical():
            return _refused(str(error.msg), doing)
        case Grid5000AuthenticationError():
            return ProviderError(
                f"Grid'5000 does not accept your login (401): {oar.words(_text(error))}.\nCorrect the password in "
                "~/.python-grid5000.yaml, and see whether the account has expired: https://api.grid5000.fr/ui/account."
            )
        case Grid5000Error():
            return _http(error, doing)
        case requests.RequestException():
            return _transport(error, doing)
        case EnosError():
            return _hosts(error, doing)
    return _resources(error, doing)


def _refused(text: str, doing: str) -> EnosCrdbError:
    code = re.match(r"(\d{3}): ", text)
    if code and code[1] not in ("400", "500"):
        return _http(Grid5000HttpError(text[5:], int(code[1])), doing)
    return oar.refused(text[5:] if code else text, doing)


def _http(error: Any, doing: str) -> EnosCrdbError:
    code = error.response_code
    if isinstance(error, Grid5000CreateError) and code != 503 and (known := oar.undeployed(_text(error))):
        return known
    if isinstance(error, Grid5000ParsingError):
        return _not_json(error, doing)
    said = f"{doing[0].upper()}{doing[1:]} failed: the API answered {code} ({oar.words(_text(error))})."
    if code == 403:
        return ProviderError(
            f"{said}\nIt is not allowed to your account: the job or the nodes are somebody else's, or the account has "
            "no access to the site. https://api.grid5000.fr/ui/account shows what it may use."
        )
    if code == 404:
        return ConfigurationError(
            f"{said}\nGrid'5000 does not have such a site, cluster, job or VLAN. Check the names in `g5k`; "
            "`enos_crdb check --env FILE` names those that do not exist."
        )
    if code is not None and code >= 500:
        return ProviderError(f"{said}\nThe fault is on Grid'5000's side; try again later. {STATUS}")
    return ProviderError(f"{said}\nCheck the section `g5k` of the file. {STATUS}")


def _not_json(error: Exception, doing: str) -> EnosCrdbError:
    return ProviderError(
        f"{doing[0].upper()}{doing[1:]} failed: what answered is not Grid'5000's API ({error}).\n"
        "A proxy or a page to log in may stand between; check `uri` in ~/.python-grid5000.yaml."
    )


def _text(error: Any) -> str:
    message = error.error_message
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)


def _transport(error: requests.RequestException, doing: str) -> EnosCrdbError:
    if isinstance(error, requests.exceptions.JSONDecodeError):
        return _not_json(error, doing)
    match error:
        case requests.exceptions.SSLError():
            what = "shows a certificate that this machine does not trust"
        case requests.exceptions.RetryError():
            what = "answered with errors five times (5xx)"
        case requests.exceptions.Timeout():
            what = "did not answer in time"
        case _:
            what = "cannot be reached"
    url = str(getattr(error.request, "url", None) or "api.grid5000.fr")
    where = re.sub(r"^https?://([^/@]+).*", r"\1", url)
    said = re.sub(r"//[^/@\s]+@", "//", str(error))  # a `uri` may hold a password
    return ProviderError(
        f"{doing[0].upper()}{doing[1:]} failed: {where} {what} ({said}).\n"
        f"Check this machine's network, certificates, and `uri` in ~/.python-grid5000.yaml; try again later. {STATUS}"
    )


def _hosts(error: EnosError, doing: str) -> EnosCrdbError:
    match error:
        case EnosUnreachableHostsError() | EnosFailedHostsError():
            return ProviderError(_unreachable(error.hosts, failed=isinstance(error, EnosFailedHostsError)))
        case EnosG5kKavlanNodesError():
            return ProviderError(
                f"Grid'5000 could not move network cards into the VLAN: {error}.\nTry "
                "`enos_crdb deploy` again. If it stays, choose another cluster, or g5k.networks.database: prod."
            )
        case EnosG5kDuplicateJobsError():
            return ProviderError(
                f"There are two jobs of the same name: {error}.\n`enos_crdb destroy --env FILE` ends both; then deploy."
            )
    return ProviderError(f"{doing[0].upper()}{doing[1:]} failed: {error or type(error).__name__}. {STATUS}")


def _unreachable(results: Any, *, failed: bool) -> str:
    """``results``: what Ansible recorded per host."""
    names = sorted({str(result.host) for result in results})
    payload: Mapping[str, Any] = next((result.payload for result in results), {})
    told = " ".join(str(payload.get("stdout") or payload.get("stderr") or payload.get("msg") or "").split())[-300:]
    what = "A command failed on" if failed else "ssh does not reach"
    why = (
        STATUS
        if failed
        else "Check that Grid'5000 knows the ssh key of this machine, and that ssh passes access.grid5000.fr "
        "(g5k.jump; docs/how-to/grid5000.md); else the node is broken."
    )
    return (
        f"{what} {', '.join(names)}: {told.rstrip('.') or 'no message'}.\n"
        f"{why} The job is kept: `enos_crdb deploy` tries again, `enos_crdb destroy` ends it."
    )


def _resources(error: Exception, doing: str) -> EnosCrdbError:
    if isinstance(error, NotEnoughNodesError):
        return ProviderError(
            f"Grid'5000 gave fewer nodes than the file needs: {error.msg}.\n"
            "Lower `min` of the machines, or name a job with enough nodes in g5k.reuse."
        )
    if isinstance(error, MissingNetworkError):
        return ProviderError(
            f"The job at {error.site} has no network of the kind '{error.n_type}'.\n"
            "A job named in g5k.reuse must have been reserved with it, for instance "
            f"`oarsub -l {{\"type='{error.n_type}'\"}}/vlan=1+...`; else change g5k.networks.database."
        )
    return ProviderError(f"{doing[0].upper()}{doing[1:]} failed: {error or type(error).__name__}.")
