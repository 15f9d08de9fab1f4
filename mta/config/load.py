"""Finds, reads and completes the configuration.

Owns: the search order of the file, the overrides from the environment, defaults that depend on the machine, and
checks of values that are right by themselves but not together. Never does: make directories, bind or change user.
"""

import json
import os
import pwd
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from mta.config.reader import Findings, as_table, read_table
from mta.config.sections import Config, Listener, Route
from mta.config.units import Address, is_domain
from mta.errors import ConfigError

SYSTEM_FILE = Path("/etc/mta/mta.toml")
SYSTEM_DATA = Path("/var/lib/mta")
SYSTEM_USER = "_mta"
#: Characters of a password for a remote.
PASSWORD_LIMIT = 1000
#: Variables of ours that are no keys: the file itself, the build, the tests.
_PREFIX = "MTA_"


def find_file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one given, else $MTA_CONFIG, else the system's, else the user's, else None."""
    if path is not None:
        return Path(path)
    if environ.get("MTA_CONFIG"):
        return Path(environ["MTA_CONFIG"])
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return next((file for file in (SYSTEM_FILE, Path(home) / "mta/mta.toml") if file.is_file()), None)


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration, complete. Raises ConfigError with every finding. May be called from any thread."""
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    table = _read_file(file) if file else {}
    source = str(file) if file else "(no file)"
    return _finish(table, source, file.parent.absolute() if file else Path.cwd(), environ)


def parse(text: str, environ: Mapping[str, str] | None = None, *, source: str = "mta.toml") -> Config:
    """As ``load``, from the text of a file. Without ``environ`` nothing of the environment is heeded."""
    return _finish(_parse_toml(text, source), source, Path.cwd(), environ or {})


def to_json(config: Config) -> bytes:
    """The complete configuration for another process."""
    return msgspec.json.encode(as_table(config))


def from_json(data: bytes) -> Config:
    """What :func:`to_json` wrote. Raises ConfigError when it is from a version with other keys."""
    findings = Findings("(from the attendant)", Path("/"))
    config = read_table(Config, msgspec.json.decode(data), "", findings)
    if config is None:
        raise ConfigError(findings.lines)
    return config


def warnings(config: Config) -> list[str]:
    """What works and still deserves a line at start: modes that keep nothing, no home for canaries, root without a
    user, a certificate that nobody is shown."""
    lines = []
    if config.spool.backend != "disk":
        lines.append(f'spool.backend = "{config.spool.backend}": no message survives this process; for load tests only')
    if config.spool.durability != "commit":
        lines.append('spool.durability = "dangerously-buffered": 250 before the sync; a crash loses accepted messages')
    if config.canary.interval and not config.local.domains:
        lines.append("canary.interval is set, but there is no local.domains: a canary needs a mailbox to go to")
    if os.geteuid() == 0 and config.user in ("", "root"):
        lines.append(f'running as root: set user, or make a system user "{SYSTEM_USER}"')
    for i, listener in enumerate(config.listener):
        if listener.tls == "none" and listener.certificate is not None:
            lines.append(f'listener[{i}].certificate is of no use: tls is "none"')
    return lines


def _read_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: octet {error.start} is not UTF-8"]) from error
    return _parse_toml(text, str(file))


def _parse_toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{source}: not TOML: {error}"]) from error


def _finish(table: dict[str, Any], source: str, base: Path, environ: Mapping[str, str]) -> Config:
    stray: list[str] = []
    origins = _override(table, environ, stray)
    findings = Findings(source, base, origins)
    findings.lines += stray
    given = table if isinstance(table, dict) else {}
    config = read_table(Config, given, "", findings)
    if config is not None:
        config = _complete(config, given, environ)
        _check(config, findings)
    if config is None or findings.lines:
        raise ConfigError(findings.lines)
    return config


# ---- the environment -------------------------------------------------------------------------------------------


def _override(table: dict[str, Any], environ: Mapping[str, str], stray: list[str]) -> dict[str, str]:
    """Puts ``MTA_<SECTION>__<KEY>`` (and ``MTA_<KEY>`` for keys outside sections) into the table; path → variable."""
    origins: dict[str, str] = {}
    keys = {field.name: field.type for field in msgspec.structs.fields(Config)}
    for variable, text in sorted(environ.items()):
        section, separator, key = variable.removeprefix(_PREFIX).lower().partition("__")
        if not variable.startswith(_PREFIX) or (not separator and section not in keys):
            continue
        if not separator:
            table[section] = _value(keys[section], text)
            origins[section] = variable
            continue
        inner = _keys_of(keys.get(section))
        if key not in inner:
            stray.append(f"{variable}: {_stray(section, key, keys, inner)}")
        elif isinstance(table.setdefault(section, {}), dict):
            table[section][key] = _value(inner[key], text)
            origins[f"{section}.{key}"] = variable
    return origins


def _keys_of(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {}


def _stray(section: str, key: str, sections: dict[str, Any], keys: dict[str, Any]) -> str:
    if not keys:
        near = get_close_matches(section, [name for name in sections if _keys_of(sections[name])], n=1)
        return f'no section "{section}"' + (f'; did you mean "{near[0]}"?' if near else "")
    near = get_close_matches(key, keys, n=1)
    return f'no key "{section}.{key}"' + (f'; did you mean "{near[0]}"?' if near else "")


def _value(kind: Any, text: str) -> object:
    """JSON or a TOML value where the key wants a number, a flag or an array; else the text as it is."""
    try:
        value: object = json.loads(text)
    except ValueError:
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text
    # MTA_HOSTNAME=1234 and MTA_USER=true are texts, whatever they look like.
    wants_text = getattr(kind, "__origin__", None) is str
    return text if wants_text and not isinstance(value, str) else value


# ---- what depends on the machine, and on other keys ------------------------------------------------------------


def _complete(config: Config, given: dict[str, Any], environ: Mapping[str, str]) -> Config:
    filled: dict[str, Any] = {}
    data_dir = config.data_dir if "data_dir" in given else default_data_dir(environ)
    filled["data_dir"] = data_dir
    if "hostname" not in given:
        name = os.uname().nodename.lower()
        filled["hostname"] = name if is_domain(name) else "localhost"
    filled["listener"] = tuple(map(_with_tls, config.listener, given.get("listener", config.listener)))
    if "workers" not in given:
        filled["workers"] = min(len(os.sched_getaffinity(0)), 256)
    if "user" not in given:
        filled["user"] = SYSTEM_USER if os.geteuid() == 0 and _user_exists(SYSTEM_USER) else ""
    if "address" not in given.get("admin", {}):
        filled["admin"] = msgspec.structs.replace(config.admin, address=Address(path=str(data_dir / "admin.sock")))
    if "events" not in given.get("log", {}):
        filled["log"] = msgspec.structs.replace(config.log, events=str(data_dir / "events.jsonl"))
    return msgspec.structs.replace(config, **filled)


def _with_tls(listener: Listener, given: object) -> Listener:
    """STARTTLS is offered where a certificate is set, unless ``tls`` says otherwise."""
    if listener.certificate is None or (isinstance(given, dict) and "tls" in given):
        return listener
    return msgspec.structs.replace(listener, tls="starttls")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """/var/lib/mta for root, else ``$XDG_STATE_HOME/mta``."""
    if os.geteuid() == 0:
        return SYSTEM_DATA
    return Path(environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")) / "mta"


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _check(config: Config, findings: Findings) -> None:
    _check_listeners(config, findings)
    for i, route in enumerate(config.route):
        _check_route(route, f"route[{i}]", findings)
    if not config.delivery.retry_after:
        findings.add("delivery.retry_after", "needs at least one duration")
    if config.admin.address.host and config.admin.token_file is None:
        findings.add("admin.token_file", f'is missing: "{config.admin.address}" can be reached by others')
    if config.limits.message_size == 0:
        findings.add("limits.message_size", "must be above zero")
    for i, entry in enumerate(config.dnsbl):
        if any(network.version != 4 for network in entry.answers):
            findings.add(f"dnsbl[{i}].answers", "must be IPv4 networks such as 127.0.0.2")
    if config.dnsbl and config.policy.dnsbl_threshold <= 0:
        findings.add("policy.dnsbl_threshold", "must be above zero: clients on no list would be refused")
    if os.geteuid() == 0 and config.user and not _user_exists(config.user):
        findings.add("user", f'"{config.user}" is not a user of this machine')


def _check_route(route: Route, path: str, findings: Findings) -> None:
    if (route.tls or route.username) and not route.to.startswith(("smtp:", "lmtp:")):
        key = "tls" if route.tls else "username"
        findings.add(f"{path}.{key}", f'is for "smtp:" and "lmtp:", not for "{route.to}"')
    if route.username and route.password_file is None:
        findings.add(f"{path}.password_file", "is missing: username needs a password")
    if not route.username and route.password_file is not None:
        findings.add(f"{path}.username", "is missing: password_file is of no use without")
    elif route.password_file is not None:
        try:
            read_password(route.password_file)
        except ConfigError as error:
            # Who may not read it does not run the server, and asks for its status all the same; who runs it is told
            # by check_passwords.
            if not isinstance(error.__cause__, PermissionError):
                findings.add(f"{path}.password_file", error.findings[0])


def check_passwords(config: Config) -> None:
    """Reads them again, after a change of user. Raises ConfigError."""
    findings: list[str] = []
    for i, route in enumerate(config.route):
        try:
            if route.password_file is not None:
                read_password(route.password_file)
        except ConfigError as error:
            findings.append(f"route[{i}].password_file: {error.findings[0]}")
    if findings:
        raise ConfigError(findings)


def read_password(path: Path) -> str:
    """The first line of the file, without its end. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8") as file:
            password = file.readline(PASSWORD_LIMIT + 2).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError([f"{path} cannot be read: {reason}"]) from error
    if not password or "\0" in password or len(password) > PASSWORD_LIMIT:
        raise ConfigError([f"the first line of {path} is no password: 1 to {PASSWORD_LIMIT} characters"])
    return password


def _check_listeners(config: Config, findings: Findings) -> None:
    if not config.listener:
        findings.add("listener", "needs at least one listener")
    seen: dict[str, int] = {}
    for i, listener in enumerate(config.listener):
        path = f"listener[{i}]"
        _check_listener(listener, path, findings)
        where = str(listener.address)
        if where in seen and (listener.port or listener.path):
            findings.add(f"{path}.address", f'"{where}" is taken by listener[{seen[where]}]')
        seen.setdefault(where, i)


def _check_listener(listener: Listener, path: str, findings: Findings) -> None:
    certified = listener.certificate is not None
    if listener.tls != "none" and not certified:
        findings.add(f"{path}.certificate", f'is missing: tls = "{listener.tls}" needs one')
    if listener.tls == "none" and listener.client_ca is not None:
        findings.add(f"{path}.client_ca", 'is of no use: tls is "none"')
    if listener.certificates and not certified:
        findings.add(f"{path}.certificates", "are further ones: certificate is missing")
    if listener.protocol == "submission" and listener.tls == "none" and not listener.dangerously_allow_plaintext_auth:
        findings.add(f"{path}.tls", '"none" lets nobody log in: a submission listener needs "starttls" or "implicit"')
    if listener.protocol == "lmtp" and (needed := {"PIPELINING", "ENHANCEDSTATUSCODES"} & {*listener.extensions_off}):
        findings.add(f"{path}.extensions_off", f"LMTP always has {' and '.join(sorted(needed))} (RFC 2033 §5)")
    if listener.protocol == "ldap" and listener.proxy_protocol:
        findings.add(f"{path}.proxy_protocol", "is not for ldap")
    if listener.proxy_protocol and not listener.proxy_networks:
        findings.add(f"{path}.proxy_networks", "is empty: no proxy would be let in")
