"""A local stack for checks, and commands whose output is shown only if they fail."""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 900


def run(*command, **options):
    """Runs a command, whose output is shown only if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def start(work):
    """Starts a local stack of its own below `work`; returns it and its addresses."""
    state = work / "state"
    state.mkdir(parents=True)
    run("cargo", "build", "--quiet", "--package", "switchboard", cwd=ROOT)
    log = (work / "stack.log").open("w")
    command = [ROOT / "target/debug/switchboard", "--state", state]
    stack = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    deadline = time.monotonic() + START_SECONDS
    addresses = state / "local.json"
    while not addresses.exists():
        if stack.poll() is not None or time.monotonic() > deadline:
            stack.kill()
            sys.exit(f"the local stack does not start:\n{(work / 'stack.log').read_text()}")
        time.sleep(0.2)
    return stack, json.loads(addresses.read_text())
