# Shortcuts for people who have `just` (https://just.systems). Each is one command that works without it.

# Lists the recipes.
default:
    @just --list

# One whole call with a simulated person.
demo:
    cargo run -- demo

# The fast tests: every unit test, the pure crates, the architecture. Under a minute after a build.
fast:
    .ci/fast

# Everything that must pass before a change lands. About half an hour on two cores.
gate:
    .ci/run

# The scripted calls, or those given.
scenarios *FILES:
    cargo run -- test {{FILES}}

# Checks the words of sources and docs.
language:
    python3 .ci/language.py
