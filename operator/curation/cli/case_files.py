"""The files of `kubectl curation test DIR`: its cases, and the policies that are in force for each of them."""

import difflib
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from curation.api.approval import EvaluatedRequest
from curation.api.clipping import clip
from curation.api.files import CallDefaults, Case, CaseRequest, PolicyCases
from curation.api.names import Trigger
from curation.authz.check_result import PolicyCheck
from curation.authz.decision import CallContext
from curation.authz.policy_check import check_policy
from curation.authz.source import Source
from curation.cli.errors import BadInput, PluginError
from curation.cli.file_errors import Mistakes, loaded, parsed
from curation.cli.output import note
from curation.cli.policy_files import POLICY_KINDS, PolicyText, policy_of, policy_texts, read_text, with_items
from curation.egress.errors import EgressRefused
from curation.egress.url import evaluated_request, parse_url

MAX_FILES: Final = 10_000
MAX_PATTERN_SHOWN: Final = 200
ENDINGS: Final = (".yaml", ".yml", ".json", ".cedar")
_ALIKE: Final = 0.75
_OF_A_CASE: Final = re.compile(r"cases\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class ValidPolicy:
    """A policy object that would be in force, and how each of its policies is named in coverage."""

    text: PolicyText
    check: PolicyCheck
    statements: tuple[str, ...]
    """The @id or index of each."""

    @property
    def keys(self) -> Iterator[tuple[str, ...]]:
        """What distinguishes each of its policies from all others; the last part is its @id or index."""
        text = self.text
        for statement in self.statements:
            yield text.file, text.kind or "", text.namespace or "", text.name, statement

    def shown(self, statement: str) -> str:
        """One policy of it, for people."""
        return f"{self.text.label} #{statement}"


@dataclass(frozen=True, slots=True)
class LoadedCase:
    """A case, ready to be asked."""

    file: str
    name: str
    case: Case
    namespace: str
    request: EvaluatedRequest
    context: CallContext
    policies: tuple[ValidPolicy, ...]


@dataclass(slots=True)
class CaseFolder:
    """Reads a folder. Every mistake is kept, so that one go lists them all."""

    folder: Path
    mistakes: list[str] = field(default_factory=list)
    _documents: list[tuple[str, Any]] = field(default_factory=list)
    _found: dict[str, tuple[ValidPolicy, ...]] = field(default_factory=dict)
    """The policies of each file, by its path."""
    _in_folder: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> tuple[list[LoadedCase], list[ValidPolicy]]:
        """All cases in the files of a folder, and all policies. Raises BadInput with every mistake."""
        reading = cls(folder)
        for file in reading._files():
            reading._read(file)
        cases = [case for file, document in reading._documents for case in reading._cases(file, document)]
        in_folder = [policy for path in reading._in_folder for policy in reading._valid(path)]
        if reading.mistakes:
            raise BadInput("\n".join(dict.fromkeys(reading.mistakes)))
        if not cases:
            raise BadInput(f"{folder} holds no cases; write a .yaml file with the field cases")
        return cases, in_folder

    def _files(self) -> list[str]:
        visible: list[str] = []
        # Trap: `rglob` passes over a folder that cannot be read, and the cases in it would be taken to have passed.
        for at, folders, files in os.walk(self.folder, onerror=self._unread):
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths = [Path(at) / name for name in files if not name.startswith(".")]
            visible += [str(path) for path in paths if path.suffix.lower() in ENDINGS and path.is_file()]
            if len(visible) > MAX_FILES:
                raise BadInput(f"{self.folder} holds more than {MAX_FILES} files; name a smaller folder")
        return sorted(visible, key=lambda path: Path(path).parts)

    def _unread(self, error: OSError) -> None:
        self.mistakes.append(f"cannot read {error.filename}: {error.strerror}")

    def _read(self, file: str) -> None:
        """Sort a file's documents: manifests have a kind, cases have fields of their own; others are passed over."""
        if file.lower().endswith(".cedar"):
            self._in_folder.append(file)
            return
        try:
            documents = loaded(file, read_text(file))
        except Mistakes as mistakes:
            self._note(file, mistakes)
            return
        except PluginError as error:
            self.mistakes.append(error.message)
            return
        manifests = [document for document in documents if isinstance(document, dict) and "kind" in document]
        if any(each.get("kind") in POLICY_KINDS for each in with_items(manifests)):
            self._in_folder.append(file)
        for document in (each for each in documents if not (isinstance(each, dict) and "kind" in each)):
            if _meant_as_cases(document):
                self._documents.append((file, document))
            else:
                note(f"note: {file} is passed over: it holds no cases")

    def _cases(self, file: str, document: Any) -> Iterator[LoadedCase]:
        try:
            found = parsed(PolicyCases, document)
        except Mistakes as mistakes:
            self._note(file, mistakes, document)
            return
        in_file = self._policies(file, "policies", found.policies)
        for index, case in enumerate(found.cases):
            where = f"cases[{index}]"
            own = in_file if case.policies is None else self._policies(file, f"{where}.policies", case.policies)
            try:
                request, namespace, context = _asked(where, case.request, found.defaults)
            except Mistakes as mistakes:
                self._note(file, mistakes, document)
                continue
            _apart(file, where, own, namespace, self.mistakes)
            name = case.name or f"{request.method} {case.request.url} ({request.trigger} by {request.module})"
            yield LoadedCase(file, name, case, namespace, request, context, own)

    def _policies(self, file: str, where: str, patterns: list[str] | None) -> tuple[ValidPolicy, ...]:
        """The policies that the patterns name, from the folder of the file; None: all of the folder that is tested."""
        if patterns is None:
            return tuple(policy for path in self._in_folder for policy in self._valid(path))
        paths: list[str] = []
        for index, pattern in enumerate(patterns):
            beside = str(Path(file).parent)
            fits = sorted(glob.glob(os.path.join(glob.escape(beside), pattern), recursive=True))  # noqa: PTH118, PTH207
            files = [_plain(path) for path in fits if Path(path).is_file()]
            if not files:
                shown = clip(pattern, MAX_PATTERN_SHOWN)
                self.mistakes.append(f"{file}: {where}[{index}]: no file fits {shown}, as seen from {beside}; mend it")
            paths += files
        return tuple(policy for path in dict.fromkeys(paths) for policy in self._valid(path))

    def _valid(self, path: str) -> tuple[ValidPolicy, ...]:
        """The policies of a file; a mistake of it is listed once."""
        path = _plain(path)
        if path not in self._found:
            self._found[path] = ()
            try:
                texts = list(_texts(path))
            except PluginError as error:
                self.mistakes.append(error.message)
                return ()
            self._found[path] = tuple(policy for text in texts if (policy := self._checked(text)) is not None)
        return self._found[path]

    def _checked(self, text: PolicyText) -> ValidPolicy | None:
        check = check_policy(text.cedar)
        if not check.valid:
            self.mistakes.append(f"{text.label}: {check.reason}: {check.message}")
            return None
        origins = Source.of_policy(None, text.name, text.cedar, check, cancel_only=False, forbids_only=False).origins
        return ValidPolicy(text, check, tuple(origin.rpartition("#")[2] for origin in origins))

    def _note(self, file: str, mistakes: Mistakes, document: Any = None) -> None:
        for problem in mistakes.problems:
            match = _OF_A_CASE.match(problem)
            name = _name_of(document, int(match[1])) if match else None
            self.mistakes.append(f"{file}: {problem}" + (f' (case "{name}")' if name else ""))


def _plain(path: str) -> str:
    """The path without .. and ., so that a file has one name; as it is where a link makes that another file."""
    plain = os.path.normpath(path)
    try:
        return plain if Path(plain).samefile(path) else path
    except OSError:
        return path


def _meant_as_cases(document: Any) -> bool:
    """Whether a document has a field of a file of cases, or one that is misspelt. Folders hold much else: workflows."""
    if not isinstance(document, dict):
        return False
    names = [str(name) for name in document]
    return any(name in ("policies", "defaults") for name in names) or bool(
        difflib.get_close_matches("cases", names, 1, _ALIKE)
    )


def _texts(path: str) -> Iterator[PolicyText]:
    """The policies of a file, which may hold other documents, those of a test too."""
    if path.lower().endswith(".cedar"):
        yield from policy_texts(path)
        return
    try:
        documents = with_items(loaded(path, read_text(path)))
    except Mistakes as mistakes:
        raise PluginError(f"{path}: {mistakes}") from None
    found = [policy_of(path, document) for document in documents if document.get("kind") in POLICY_KINDS]
    if not found:
        raise PluginError(f"{path} holds no CurationPolicy and no ClusterCurationPolicy; leave it out of policies")
    yield from found


def _name_of(document: Any, index: int) -> str | None:
    try:
        name = document["cases"][index]["name"]
    except (LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _apart(file: str, where: str, policies: tuple[ValidPolicy, ...], namespace: str, mistakes: list[str]) -> None:
    """Of two objects with one name, a cluster has only one."""
    seen: dict[tuple[str | None, str], ValidPolicy] = {}
    for policy in policies:
        text = policy.text
        if (other := seen.setdefault((text.place(namespace), text.name), policy)) is not policy:
            mistakes.append(f"{file}: {where}: {text.clash_with(other.text)}; name one of them in policies")


def _asked(where: str, given: CaseRequest, defaults: CallDefaults) -> tuple[EvaluatedRequest, str, CallContext]:
    """What the gate is asked. Raises `Mistakes`."""

    def of(name: str, last: Any) -> Any:
        found = (getattr(given, name), getattr(defaults, name))
        return next((value for value in found if value is not None), last)

    module = of("module", None)
    if module is None:
        raise Mistakes([f"{where}.request.module: it is missing; name the module that calls, here or in defaults"])
    try:
        url = parse_url(given.url)
    except EgressRefused as error:
        raise Mistakes([f"{where}.request.url: no module can make this call: {error}"]) from None
    try:
        trigger = of("trigger", Trigger.SUBMIT)
        request = evaluated_request(url, given.method, module=module, digest=of("digest", ""), trigger=trigger)
    except EgressRefused as error:
        raise Mistakes([f"{where}.request.method: no module can make this call: {error}"]) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Mistakes([f"{where}.request.url: {'.'.join(map(str, first['loc']))}: {first['msg']}"]) from None
    context = CallContext(of("job", "test"), of("labels", {}), of("generation", 1), of("attempt", 1))
    return request, of("namespace", "default"), context
