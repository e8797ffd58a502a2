#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes .venv: GNU Radio from the system's packages, the rest from PyPI. Safe to run again; then it takes a moment.
#
#   SEMCOM_PYTHON=/path/to/python   use this interpreter (and its GNU Radio)
#   SEMCOM_NO_RADIO=1               do without GNU Radio (a machine that only trains)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/semcom-stamp
torch_version=2.13.0
torch_cpu_index=https://download.pytorch.org/whl/cpu
apt_packages=(gnuradio python3-venv python3-gi python3-gi-cairo gir1.2-gtk-3.0 xterm)
radio=$([ "${SEMCOM_NO_RADIO:-0}" = 1 ] && echo no-radio || echo radio)

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
stop() { printf '\033[1;31m%s\033[0m\n' "$*" >&2; exit 1; }

# --- interpreters -------------------------------------------------------------------------------------
imports_radio() { "$@" -c 'import pmt; from gnuradio import gr, blocks; pmt.intern' >/dev/null 2>&1; }
has_radio() { imports_radio "$1" -s; } # -s: what lies in ~/.local must not decide
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }
can_make_venv() { "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }
candidates() {
  [ -z "${CONDA_PREFIX:-}" ] || echo "$CONDA_PREFIX/bin/python"
  echo /usr/bin/python3
  type -aP python3 || true
}
find_python() { # the first candidate that passes every test named in the arguments
  local python test
  while read -r python; do
    [ -x "$python" ] && new_enough "$python" || continue
    for test in "$@"; do "$test" "$python" || continue 2; done
    echo "$python"
    return 0
  done < <(candidates)
  return 1
}

# --- is there anything to do? -------------------------------------------------------------------------
fingerprint() { # of everything that decides what is in the environment
  { cat pyproject.toml scripts/bootstrap.sh; pwd; echo "${SEMCOM_PYTHON:-}"; } | cksum
}
venv_works() { [ -x $venv/bin/python ] && $venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; }
stamped() { # a set-up with the radio also serves where none is asked for
  [ -f $stamp ] || return 1
  local made_with made_of
  { read -r made_with; read -r made_of; } <$stamp || return 1
  [ "$made_of" = "$(fingerprint)" ] && { [ "$made_with" = "$radio" ] || [ "$made_with" = radio ]; }
}
if stamped && venv_works; then
  exit 0
fi

# --- system packages ----------------------------------------------------------------------------------
install_packages() { # named in the arguments, through apt; stops with their names if it may not
  local root=()
  if ! command -v apt-get >/dev/null; then
    stop "$missing, and this system has no apt-get. Install GNU Radio 3.10 with your package manager" \
      "(conda: 'conda install -c conda-forge gnuradio'), or set SEMCOM_NO_RADIO=1 to do without."
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      stop "$missing, and installing needs root. Run:

    sudo apt-get install --no-install-recommends $*

and then this command again (or set SEMCOM_NO_RADIO=1 to do without GNU Radio)."
    fi
    root=(sudo -n)
  fi
  say "$missing: installing $* ..."
  local apt=(${root[@]+"${root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=400)
  "${apt[@]}" update >&2 || say "apt-get update failed; trying with the package lists that are here"
  "${apt[@]}" install -y --no-install-recommends "$@" >&2 || stop "apt-get could not install: $*"
}

if [ -n "${SEMCOM_PYTHON:-}" ]; then
  python=$(command -v "$SEMCOM_PYTHON") || stop "SEMCOM_PYTHON=$SEMCOM_PYTHON is not a program."
  new_enough "$python" || stop "SEMCOM_PYTHON=$SEMCOM_PYTHON is older than Python 3.10."
  [ $radio = no-radio ] || has_radio "$python" || stop "SEMCOM_PYTHON=$SEMCOM_PYTHON cannot import GNU Radio."
elif [ $radio = no-radio ]; then
  python=$(find_python can_make_venv || find_python) || stop "No Python 3.10 or newer was found."
elif ! python=$(find_python has_radio); then
  missing="GNU Radio is not on this machine"
  install_packages "${apt_packages[@]}"
  python=$(find_python has_radio) || stop "GNU Radio was installed, but no Python 3.10 or newer can import it."
fi
if ! can_make_venv "$python"; then
  missing="$python lacks the venv module"
  install_packages python3-venv
fi

# --- the environment ----------------------------------------------------------------------------------
base_of() { "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix), sys.version_info[:2])'; }
if ! venv_works || [ "$(base_of $venv/bin/python)" != "$(base_of "$python")" ] || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
  say "making $venv with $python ..."
  rm -rf $venv
  flags=()
  [ $radio = no-radio ] || flags=(--system-site-packages)
  "$python" -m venv ${flags[@]+"${flags[@]}"} $venv || stop "$python could not make a virtual environment."
fi
rm -f $stamp

pip() { $venv/bin/python -m pip --disable-pip-version-check "$@" >&2; }
reachable() { $venv/bin/python -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5)' "$1" >/dev/null 2>&1; }
imports() { $venv/bin/python -c "import $1" >/dev/null 2>&1; }

constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
# A GNU Radio built against numpy 1 dies with numpy 2 ("_ARRAY_API not found").
if [ $radio = radio ] && "$python" -s -c 'import numpy, sys; sys.exit(int(numpy.__version__.split(".")[0]) > 1)' 2>/dev/null; then
  echo 'numpy<2' >"$constraints"
fi

if ! imports torch; then
  say "installing PyTorch ..."
  index=()
  if [ ! -e /proc/driver/nvidia/version ] && [ "$(uname)" = Linux ] && reachable "$torch_cpu_index/torch/"; then
    index=(--extra-index-url "$torch_cpu_index") # no NVIDIA GPU: a tenth of the download
  fi
  pip install -q -c "$constraints" ${index[@]+"${index[@]}"} "torch==$torch_version" numpy ||
    pip install -q -c "$constraints" ${index[@]+"${index[@]}"} torch numpy || stop "PyTorch could not be installed."
fi
say "installing gr-semcom ..."
if ! pip install -q -c "$constraints" -e '.[test]'; then
  $venv/bin/semcom --version >/dev/null 2>&1 || stop "gr-semcom could not be installed (is the network there?)."
  say "the environment could not be brought up to date (is the network there?); going on with the one that is here"
  exit 0
fi
if [ $radio = radio ] && ! imports_radio $venv/bin/python; then
  stop "GNU Radio cannot be imported in $venv. Run '$venv/bin/semcom doctor', which says why."
fi
{ echo "$radio"; fingerprint; } >$stamp
say "ready: $venv/bin/semcom --help"
