"""A Python whose libraries are imported already: each command is forked from one process, which saves it seconds of imports.

    python warm_python.py FOLDER

serves, and writes into FOLDER the programs `python`, `bleep` and `accelerate`, which take the words, the environment, the
folder and the files of whoever starts them. The forked process is one like any other: it has a number, can be killed, and
ends with its own code. It starts without the shape checks of the tests, as a user's would.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType

PROGRAMS = {"python": [], "bleep": ["-m", "bleep"], "accelerate": ["-m", "accelerate.commands.accelerate_cli"]}
PRELOADED = (
    *("accelerate.commands.accelerate_cli", "torch._dynamo", "torch.distributed.run", "bleep.cli.training", "bleep.cli.app"),
    *("bleep.workflows.fit", "bleep.workflows.query", "bleep.workflows.evaluate", "bleep.workflows.calibrate"),
)
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
line = socket.socket(socket.AF_UNIX)
line.connect({place!r})
words = json.dumps([{words!r} + sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(words).to_bytes(4, "big")], [0, 1, 2])
line.sendall(words)
answers = line.makefile()
child = int(answers.readline())
for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(asked, lambda number, frame: os.kill(child, number))
code = int(answers.readline())
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""
Request = tuple[list[str], str, dict[str, str]]


def serve(folder: Path) -> Request | None:
    """Fork a process for each request, and return the request in it; without one, whoever started the server has ended it."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "socket"))
    server.listen()
    for name, words in PROGRAMS.items():
        (folder / name).write_text(CLIENT.format(python=sys.executable, place=str(folder / "socket"), words=words))
        (folder / name).chmod(0o755)
    print("ready", flush=True)
    waiting = select.poll()
    for handle in (0, server.fileno()):
        waiting.register(handle, select.POLLIN)
    lines: dict[int, tuple[socket.socket, int]] = {}
    children: dict[int, tuple[socket.socket, int]] = {}
    while True:
        for number, _ in waiting.poll():
            if number == 0:
                return None
            if number == server.fileno():
                line, _ = server.accept()
                size, handles, _, _ = socket.recv_fds(line, 4, 3)
                with line.makefile("rb") as file:
                    request = json.loads(file.read(int.from_bytes(size, "big")))
                child = os.fork()
                if child == 0:
                    for place, handle in enumerate(handles):
                        os.dup2(handle, place)
                    for handle in (*handles, *children):
                        os.close(handle)
                    for each in (server, line, *(other for other, _ in children.values())):
                        each.close()
                    return request
                for handle in handles:
                    os.close(handle)
                end = os.pidfd_open(child)
                lines[line.fileno()] = children[end] = line, child
                for handle in (line.fileno(), end):
                    waiting.register(handle, select.POLLIN)
                line.sendall(b"%d\n" % child)
            elif number in children:
                line, child = children.pop(number)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                waiting.unregister(number)
                os.close(number)
                if lines.pop(line.fileno(), None):
                    waiting.unregister(line)
                with line, contextlib.suppress(OSError):
                    line.sendall(b"%d\n" % code)
            elif number in lines:
                # Whoever asked was killed: so is what it asked for.
                line, child = lines.pop(number)
                waiting.unregister(line)
                os.kill(child, signal.SIGKILL)


def become(program: Path, base: list[str], words: list[str], where: str, environment: dict[str, str]) -> None:
    """Do in this process what `python WORDS` does in a new one."""
    os.chdir(where)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = str(program)
    if words[0] == "-u":
        words = words[1:]
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    more = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*more, *(path for path in base if path not in more)]
    for path in more:
        if (Path(path) / "sitecustomize.py").is_file():
            runpy.run_path(str(Path(path) / "sitecustomize.py"))
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path.insert(0, where)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    if words[0] == "-c":
        sys.argv[:] = ["-c", *words[2:]]
        sys.path.insert(0, "")
        exec(words[1], main.__dict__)
    else:
        sys.argv[:] = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        main.__file__ = words[0]
        exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), main.__dict__)


def ended(program: Path, base: list[str], request: Request) -> int:
    """Do what is asked and return the exit code; to end the interpreter whole would copy all memory that is shared."""
    code: object = 0
    try:
        become(program, base, *request)
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code) & 255  # type: ignore[call-overload]


if __name__ == "__main__":
    beside = Path(sys.argv[1])
    own = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    asked = serve(beside)
    if asked is not None:
        os._exit(ended(beside / "python", [path for path in sys.path if path not in own], asked))
