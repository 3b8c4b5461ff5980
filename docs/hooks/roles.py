"""Cross-references of docstrings, written as in Sphinx (:func:`read`), become links of the pages."""

import re

import griffe

# Read as an expression, "path-like" would be a difference; with this hyphen it is a word.
_LIKE = re.compile(r"\b(array|path)-like\b")
_ROLE = re.compile(r":(?:func|class|meth|data|attr|mod|exc):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrite the roles in every docstring of a package, once all its modules are known."""

    def on_package(self, *, pkg, loader, **kwargs):
        """Rewrite them."""
        del loader, kwargs
        _walk(pkg)


def _walk(thing):
    if thing.docstring:
        text = _LIKE.sub("\\1\N{NON-BREAKING HYPHEN}like", thing.docstring.value)
        thing.docstring.value = _ROLE.sub(lambda match: _link(match, thing), text)
    for member in thing.members.values():
        if not member.is_alias:
            _walk(member)


def _link(match, thing):
    short, name = match.groups()
    shown = name.rpartition(".")[2] if short else name
    path = _found(name, thing)
    return f"[`{shown}`][{path}]" if path else f"`{shown}`"


def _found(name, thing):
    """Return where a name leads, seen from the docstring of `thing`, if that has a place in the pages."""
    package = thing.package
    root = f"{package.name}."
    candidates = [name.removeprefix(root)] if name.startswith(root) else []
    scope = thing
    while scope is not None and not candidates:
        if name.split(".")[0] in scope.members:
            candidates = [f"{scope.path}.{name}".removeprefix(root)]
        scope = scope.parent
    for candidate in candidates:
        try:
            target = package[candidate]
            target = target.final_target if target.is_alias else target
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
        if not any(part.startswith("_") for part in target.path.split(".")):
            return target.path
    return None
