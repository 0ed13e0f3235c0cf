"""Measures how long the page of a run takes: from the command to the page, to its first image, and to its second.

    python benchmarks/page.py run=runs/demo

Starts app/main.py with the settings that are given, and asks it for images of one emotion, as a program does. Prints wall
seconds, and CPU seconds of the page's process, which other work on the machine changes less.
"""

import subprocess
import sys
import time

import psutil

from config.section import ROOT


def main(arguments: list[str]) -> None:
    from gradio_client import Client  # of the extra [app]

    begin = time.perf_counter()
    command = [sys.executable, str(ROOT / "app/main.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        try:
            process, url = psutil.Process(page.pid), None
            while url is None:
                line = page.stdout.readline()
                if not line:
                    sys.exit("error: the page did not start")
                url = line.partition("The page: ")[2].strip() or None
            tell("from the command to the page", begin, process)
            client = Client(url, verbose=False, download_files=False)
            tell("to a program that is connected", begin, process)
            for what in ("first", "second"):
                client.predict(content_from="None", count=1, api_name="/generate")
                tell(f"to its {what} image", begin, process)
        finally:
            page.terminate()


def tell(what: str, begin: float, process: psutil.Process) -> None:
    """Print how many seconds have gone by."""
    used = process.cpu_times()
    print(f"{what}: {time.perf_counter() - begin:.1f} s, {used.user + used.system:.1f} CPU s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
