# shellcheck shell=bash
# bin/compile sources this file: it shares the variables of the other steps.
# shellcheck disable=SC2034,SC2154
# What installs packages: uv, or pip itself where the app says so.

uv_version=0.13.9
uv_hashes="--hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 --hash=sha256:5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"
pip_version=26.3

# Sets installer to uv or pip.
choose_installer() {
  installer=$(config_var "$env_dir" SLUGLINE_PYTHON_INSTALLER)
  case ${installer:=uv} in
    uv | pip) ;;
    *) fail "Error: The config var SLUGLINE_PYTHON_INSTALLER is neither uv nor pip." \
      "" "Found: $installer" "" "Unset it, or set it to one of them." ;;
  esac
  if [[ $needs_pip == yes && $installer == uv && $manager == pip ]]; then
    detail "requirements.txt has an editable package by git, which pip alone installs"
    installer=pip
  fi
  if [[ $manager == uv ]]; then installer=uv; fi
}

# Sets uv to the path of the program, which is fetched once for all apps of a machine.
get_uv() {
  local folder=/tmp/uv handed=/tmp/uv-handed scratch
  if uv=$(tool handed find "uv-$uv_version" 2>/dev/null); then
    uv=$uv/bin/uv
    return 0
  fi
  scratch=$(mktemp -d)
  echo "uv==$uv_version $uv_hashes" >"$scratch/requirements.txt"
  if ! (
    cd /
    bundled_pip install --quiet --no-deps --only-binary :all: --require-hashes --no-compile \
      --no-cache-dir --disable-pip-version-check --target "$folder" -r "$scratch/requirements.txt"
  ) 2>&1 | indent; then
    fail "Error: Unable to install uv." \
      "" "It comes from PyPI, and the output above is pip's." \
      "" "Push again, or set the config var SLUGLINE_PYTHON_INSTALLER=pip."
  fi
  mkdir -p "$handed/bin"
  uv=$handed/bin/uv
  mv "$folder/bin/uv" "$uv"
  rm -rf "$scratch" "$folder"
  tool handed over "uv-$uv_version" "$handed" 2>/dev/null || true
}

# Runs the pip that comes with Python, from its wheel: it need not be installed, and
# an environment that has it takes seconds to make.
bundled_pip() {
  local wheel
  for wheel in "$runtime_dir"/{share/python-wheels,lib/python*/ensurepip/_bundled}/pip-*.whl; do
    if [[ -f $wheel ]]; then
      "$runtime_dir/bin/python$python_minor" -I "$wheel/pip" "$@"
      return
    fi
  done
  "$runtime_dir/bin/python$python_minor" -I -m venv /tmp/pip && /tmp/pip/bin/python -I -m pip "$@"
}

# Runs uv with the settings that make it install what pip would.
run_uv() (
  export UV_CACHE_DIR=/tmp/uv-cache UV_LINK_MODE=copy UV_NO_PROGRESS=1 UV_PYTHON_DOWNLOADS=never
  export UV_INDEX_STRATEGY=unsafe-best-match NO_COLOR=1
  # The operator's mirror, and of the config vars this one only, as with pip.
  if [[ -n ${PIP_INDEX_URL:-} ]]; then export UV_DEFAULT_INDEX=$PIP_INDEX_URL; fi
  if [[ -n ${PIP_FIND_LINKS:-} ]]; then export UV_FIND_LINKS=$PIP_FIND_LINKS; fi
  if [[ -f $env_dir/PIP_EXTRA_INDEX_URL ]]; then
    UV_INDEX=$(config_var "$env_dir" PIP_EXTRA_INDEX_URL)
    export UV_INDEX
  fi
  "$uv" "$@"
)

# Runs pip, which sees the same of the config vars.
run_pip() (
  if [[ -f $env_dir/PIP_EXTRA_INDEX_URL ]]; then
    PIP_EXTRA_INDEX_URL=$(config_var "$env_dir" PIP_EXTRA_INDEX_URL)
    export PIP_EXTRA_INDEX_URL
  fi
  "$prefix/bin/python" -I -m pip "$@" --disable-pip-version-check --no-input
)
