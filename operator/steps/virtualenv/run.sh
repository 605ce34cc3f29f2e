# A virtual environment, active in the session from now on.
(
	. "$WERCKER_STEP_ROOT/common.sh"
	python="$WERCKER_VIRTUALENV_PYTHON_LOCATION"
	for each in python3 python; do
		if [ -z "$python" ] && have "$each"; then
			python="$(command -v "$each")"
		fi
	done
	[ -n "$python" ] || fail "this box has no Python. Use a box that has it, for example python:3.12, or set python_location"
	have "$python" || fail "python_location is $python, and there is no such program"
	place="${WERCKER_VIRTUALENV_VIRTUALENV_LOCATION:-$HOME/venv}"
	if [ -f "$place/bin/activate" ]; then
		info "using the virtual environment at $place again"
	elif have virtualenv; then
		virtualenv -p "$python" "$place" || fail "virtualenv failed"
	else
		"$python" -m venv "$place" ||
			fail "this box has no virtualenv, and '$python -m venv' failed. On Debian and Ubuntu it needs the package python3-venv"
	fi
	[ -f "$place/bin/activate" ] || fail "there is no $place/bin/activate: the virtual environment was not made"
	wheels=
	if is_true "$WERCKER_VIRTUALENV_INSTALL_WHEEL"; then
		"$place/bin/pip" install wheel || fail "cannot install wheel. Set install_wheel to false to do without"
		wheels=true
	fi
	mkdir -p "$WERCKER_CACHE_DIR/pip-download-cache" "$WERCKER_CACHE_DIR/pip-wheels"
	result "$place
$wheels"
) && {
	{
		IFS= read -r VIRTUAL_ENV
		IFS= read -r PIP_USE_WHEEL || :
	} <"$WERCKER_STEP_TEMP/result"
	. "$VIRTUAL_ENV/bin/activate"
	export VIRTUAL_ENV
	export PIP_DOWNLOAD_CACHE="$WERCKER_CACHE_DIR/pip-download-cache"
	export PIP_FIND_LINKS="$WERCKER_CACHE_DIR/pip-download-cache"
	if [ -n "$PIP_USE_WHEEL" ]; then
		export PIP_USE_WHEEL PIP_WHEEL_DIR="$WERCKER_CACHE_DIR/pip-wheels" PIP_FIND_LINKS="$WERCKER_CACHE_DIR/pip-wheels"
	else
		unset PIP_USE_WHEEL
	fi
}
