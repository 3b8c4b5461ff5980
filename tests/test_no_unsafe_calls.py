"""No module of the package can run what a file holds: looked for by name in every syntax tree."""

import ast
from pathlib import Path

import pytest

import covidcxr

PACKAGE = Path(covidcxr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Modules that run or unpack what they are given, or keep no promise about it.
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "yaml",
    "xml",
    "lxml",
    "tarfile",
    "code",
    "codeop",
    "runpy",
    "pty",
    "commands",
    "telnetlib",
    "ftplib",
    "tensorflow_hub",
}
# Functions by their last name, whatever they are called on.
CALLS = {
    "eval",
    "exec",
    "compile_command",
    "__import__",
    "execfile",
    "mktemp",
    "extractall",
    "unpack_archive",
    "read_pickle",
    "to_pickle",
    "enable_unsafe_deserialization",
    "func_load",
    "urlretrieve",
    "get_file",
    "_create_unverified_context",
}
# Shells; `platform.system` is none.
SHELLS = {"os.system", "os.popen", "posix.system", "subprocess.getoutput", "subprocess.getstatusoutput"}
# Keywords that switch a guard off, and the values that do.
KEYWORDS = {
    "allow_pickle": (True,),
    "safe_mode": (False, None),
    "shell": (True,),
    "verify": (False,),
    "weights_only": (False,),
    "autoescape": (False,),
}
# A call may keep these only with the keyword given.
NEEDS = {"Environment": "autoescape"}


def name_of(function):
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def faults(tree):
    """Yield (line, fault) of every unsafe import or call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in MODULES:
                    yield node.lineno, f"imports {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").partition(".")[0] in MODULES:
                yield node.lineno, f"imports {node.module}"
        elif isinstance(node, ast.Call):
            yield from faults_of_call(node)


def faults_of_call(node):
    name = name_of(node.func)
    if name in CALLS or ast.unparse(node.func) in SHELLS or ast.unparse(node.func) == "compile":
        yield node.lineno, f"calls {name}"
    if name == "load" and isinstance(node.func, ast.Attribute) and not loads_safely(node):
        yield node.lineno, f"calls {ast.unparse(node.func)} without allow_pickle=False"
    for keyword in node.keywords:
        given = keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
        if keyword.arg in KEYWORDS and given in KEYWORDS[keyword.arg] and given is not ...:
            yield node.lineno, f"passes {keyword.arg}={given}"
    if name in NEEDS and NEEDS[name] not in {keyword.arg for keyword in node.keywords}:
        yield node.lineno, f"calls {name} without {NEEDS[name]}"


def loads_safely(node):
    """Tell whether a method called `load` is our own, or NumPy's with pickles refused."""
    owner = ast.unparse(node.func.value)
    if owner not in ("np", "numpy", "tf.saved_model", "torch", "hub", "tensorflow_hub"):
        return True
    return owner in ("np", "numpy") and any(
        keyword.arg == "allow_pickle" and ast.unparse(keyword.value) == "False" for keyword in node.keywords
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_unsafe_name(path):
    found = [f"{path}:{line}: {fault}" for line, fault in faults(ast.parse(path.read_text(encoding="utf-8")))]
    assert not found


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import pickle", "imports pickle"),
        ("from yaml import load", "imports yaml"),
        ("import xml.etree.ElementTree as e", "imports xml.etree.ElementTree"),
        ("eval('1')", "calls eval"),
        ("exec(text)", "calls exec"),
        ("compile(text, 'x', 'exec')", "calls compile"),
        ("os.system('ls')", "calls system"),
        ("subprocess.run(x, shell=True)", "passes shell=True"),
        ("np.load(path)", "calls np.load without allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", "passes allow_pickle=True"),
        ("keras.saving.load_model(path, safe_mode=False)", "passes safe_mode=False"),
        ("tf.saved_model.load(path)", "calls tf.saved_model.load"),
        ("tempfile.mktemp()", "calls mktemp"),
        ("archive.extractall(folder)", "calls extractall"),
        ("requests.get(url, verify=False)", "passes verify=False"),
        ("Environment(loader=x)", "calls Environment without autoescape"),
        ("Environment(loader=x, autoescape=False)", "passes autoescape=False"),
    ],
)
def test_the_search_finds_them(code, fault):
    assert any(fault in found for _, found in faults(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["re.compile('x')", "np.load(p, allow_pickle=False)", "loader.load(path)", "model.eval"]
)
def test_the_search_passes_over_others(code):
    assert list(faults(ast.parse(code))) == []


def test_the_whole_package_is_searched():
    assert len(FILES) > 200
    assert PACKAGE / "models" / "files.py" in FILES
