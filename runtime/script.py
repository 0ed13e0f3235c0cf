"""What stands around a script's algorithm: settings in, one clear line where the user must act.

A script reads its settings before it imports anything slow, so that --help and an error in the config answer at once:

    from runtime.script import read_settings, run

    read_settings(__name__, __doc__, "data", "balance")

    import torch
    ...
    if __name__ == "__main__":
        run(main)
"""

import gc
import os
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from io import TextIOWrapper

try:
    from config.errors import UserError
    from config.loading import load
    from config.settings import Settings
    from runtime.full_disk import no_room
    from runtime.run_folder import counting_seconds, is_first_process
    from runtime.stopping import Stopped, end_by_sigterm, has_sigterm, stop_at_once
    from runtime.threads import choose_threads
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed; in the project's folder: pip install -r requirements.txt -e .")

_settings: list[Settings] = []  # of the script that runs, once they are read
PATIENCE = 5  # seconds that a launcher has to end the others, once the first process has said what all of them meet


def read_settings(name: str, description: str, *reads: str) -> None:
    """Read the settings of this command line, where `name` is that of a script that runs; an imported one reads none.

    description: of the script, for --help. reads: the sections of the settings, or the keys, that it reads, for
    --help.
    """
    if name != "__main__":
        return
    for library in ("TRANSFORMERS", "DIFFUSERS"):  # read when they are imported
        os.environ.setdefault(f"{library}_VERBOSITY", "error")
    show_all_text()
    sys.excepthook = _one_line
    end_by_sigterm()
    _settings[:] = [load(sys.argv[1:], description, reads)]
    choose_threads()


def show_all_text() -> None:
    """Let a terminal that is not UTF-8 show letters that it lacks as backslashes; else it loses the line. stderr does so."""
    if isinstance(sys.stdout, TextIOWrapper):  # a notebook has another, and a launcher may have closed it
        sys.stdout.reconfigure(errors="backslashreplace")


def take_no_arguments(description: str) -> None:
    """Answer --help with the description of a script that takes no arguments; refuse any other."""
    show_all_text()
    ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter).parse_args()


def run(main: Callable[[Settings], None]) -> None:
    """Call `main` with the settings that were read; a UserError, a full disk or SIGTERM ends the process with one line.

    Unless it is killed, its wall seconds are added to `seconds.json` in the run folder that it opened.
    """
    code = 0
    try:
        with counting_seconds():
            main(*_settings)
            end_process_group()
    except (UserError, KeyboardInterrupt) as error:
        sys.exit(_say(error))
    except Stopped as stopped:
        code = stopped.code
    except Exception as error:
        if has_sigterm():  # the end that was put off never came
            stop_at_once()
        told = no_room(error, [settings.run for settings in _settings])
        if told is None and not isinstance(error, OSError):
            raise
        sys.exit(_say(told or error))
    if code:  # models are gone with the frames that the exception held
        end_process_group()
        sys.exit(code)


def end_process_group() -> None:
    """Destroy torch's process group, if there is one, after freeing the models that hold it.

    A group's threads need the interpreter's lock to let go of tensors. Gone with a model, a destroyed group keeps that lock
    while it waits for them, which may be for ever; left to the interpreter's end, it may abort the process
    (https://github.com/pytorch/pytorch/issues/190489).
    """
    if "torch" not in sys.modules:  # whose import takes seconds
        return
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # trainers hold models in cycles
        distributed.destroy_process_group()


def _say(error: BaseException) -> int:
    """Print what the user can do about an error. Return the process's exit code.

    Of several processes the first one speaks, and another one where it alone meets the error.
    """
    if isinstance(error, KeyboardInterrupt):
        if is_first_process():
            print("\ninterrupted; finished work is kept, and the same command resumes", file=sys.stderr)
        return 130
    text = str(error)
    if not is_first_process():
        time.sleep(PATIENCE)
    if isinstance(error, OSError):
        where = f": {error.filename2 or error.filename}" if error.filename else ""
        text = f"{error.strerror or error}{where}. Nothing finished before was lost; fix it and run again"
    elif isinstance(error, ModuleNotFoundError):
        text = f"{error.name} is not installed; in the project's folder: pip install -r requirements.txt -e ."
    print(f"error: {text}", file=sys.stderr)
    return 1


def _one_line(kind: type[BaseException], error: BaseException, traceback) -> None:
    """Stand in for sys.excepthook while a script reads its settings and imports what it needs."""
    if isinstance(error, UserError | KeyboardInterrupt | ModuleNotFoundError):
        sys.exit(_say(error))
    sys.__excepthook__(kind, error, traceback)
